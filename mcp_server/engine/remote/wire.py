"""Requests as OpenAI-compatible servers read them: bodies of chat completions, completions and infill.

Standard fields are sent as OpenAI names them. What only some servers know (llama-server's samplers, vLLM's template
flags) is sent when it differs from our default, and left to the server otherwise, so that a strict server is not
bothered. Pure functions; the answers are read by `answer`.
"""

from dataclasses import MISSING, fields
from typing import Any

from mcp_server.engine.types import GenerationRequest, Infill, Message, SamplingParams, ToolUse
from mcp_server.errors import InvalidRequestError

Body = dict[str, Any]

CHAT_PATH, COMPLETIONS_PATH, INFILL_PATH = "/chat/completions", "/completions", "/infill"

EXTRAS: dict[str, tuple[str, ...]] = {  # our name -> theirs; two where llama-server and vLLM differ
    "max_tokens": ("max_tokens",),
    "max_decode_ms": ("t_max_predict_ms",),
    "dynatemp_range": ("dynatemp_range",),
    "dynatemp_exponent": ("dynatemp_exponent",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "typical_p": ("typical_p",),
    "top_n_sigma": ("top_n_sigma",),
    "xtc_probability": ("xtc_probability",),
    "xtc_threshold": ("xtc_threshold",),
    "min_keep": ("min_keep",),
    "repetition_penalty": ("repeat_penalty", "repetition_penalty"),
    "frequency_penalty": ("frequency_penalty",),
    "presence_penalty": ("presence_penalty",),
    "penalty_window": ("repeat_last_n",),
    "dry_multiplier": ("dry_multiplier",),
    "dry_base": ("dry_base",),
    "dry_allowed_length": ("dry_allowed_length",),
    "dry_window": ("dry_penalty_last_n",),
    "dry_sequence_breakers": ("dry_sequence_breakers",),
    "mirostat": ("mirostat",),
    "mirostat_tau": ("mirostat_tau",),
    "mirostat_eta": ("mirostat_eta",),
    "seed": ("seed",),
    "stop": ("stop",),
    "ignore_eos": ("ignore_eos",),
    "post_sampling_logprobs": ("post_sampling_probs",),
    "logit_bias": ("logit_bias",),
    "grammar": ("grammar",),
}


def check_request(request: GenerationRequest) -> None:
    """Refuse what no server could answer.

    Raises:
        InvalidRequestError: Not exactly one of the ways to say what to generate, an empty prompt, or n below 1.
    """
    given = (bool(request.messages), request.prompt is not None, bool(request.prompt_token_ids), bool(request.infill))
    if sum(given) != 1:
        msg = "Give exactly one of `messages`, `prompt`, `prompt_token_ids` and `infill`."
        raise InvalidRequestError(msg, param="messages")
    if request.prompt == "":
        raise InvalidRequestError("The prompt is empty; give at least one character.", param="prompt")
    if request.n < 1:
        raise InvalidRequestError(f"n is {request.n}; ask for at least one completion.", param="n")


def generation_call(request: GenerationRequest, upstream_model: str) -> tuple[str, Body]:
    """Say where a request goes and with which body; always as a stream, with the usage at its end."""
    body: Body = {"model": upstream_model, "stream": True, "stream_options": {"include_usage": True}}
    body |= _sampling(request.sampling)
    if request.n > 1:
        body["n"] = request.n
    if not request.scheduling.cache_prompt:
        body["cache_prompt"] = False
    if request.output.return_token_ids:
        body |= {"return_token_ids": True, "return_tokens": True}  # vLLM's name, and llama-server's
    if request.infill is not None:
        return INFILL_PATH, body | _infill(request.infill) | _completion_form(request)
    if request.messages:
        return CHAT_PATH, body | chat_form(request) | _chat_output(request)
    prompt = list(request.prompt_token_ids) if request.prompt is None else request.prompt
    return COMPLETIONS_PATH, body | {"prompt": prompt} | _completion_form(request)


def infill_as_completion(body: Body, infill: Infill) -> Body:
    """Turn an infill body into a completion with a suffix, OpenAI's older form, for servers that have only that."""
    theirs = {name: value for name, value in body.items() if not name.startswith("input_")}
    return theirs | {"prompt": infill.prefix + infill.middle, "suffix": infill.suffix}


def chat_form(request: GenerationRequest) -> Body:
    """Give the fields that decide what prompt the messages become."""
    body: Body = {"messages": [_message(message) for message in request.messages]}
    body |= _tools(request.tool_use)
    if request.template.variables:
        body["chat_template_kwargs"] = request.template.variables
    if request.template.continue_final_message:
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    if request.output.reasoning == "inline":
        body["reasoning_format"] = "none"
    return body


def wants_logprobs(request: GenerationRequest) -> bool:
    """Tell whether to ask for logprobs: for themselves, or because they carry the token ids."""
    return request.sampling.n_logprobs is not None or request.output.return_token_ids


def _sampling(sampling: SamplingParams) -> Body:
    body: Body = {"temperature": sampling.temperature, "top_p": sampling.top_p}
    for field in fields(SamplingParams):
        default = field.default if field.default_factory is MISSING else field.default_factory()
        value = getattr(sampling, field.name)
        if field.name in EXTRAS and value != default:
            body |= dict.fromkeys(EXTRAS[field.name], value)
    return body


def _chat_output(request: GenerationRequest) -> Body:
    sampling = request.sampling
    body: Body = {}
    if sampling.json_schema is not None:
        named = {"name": "answer", "schema": sampling.json_schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}
    elif sampling.json_mode:
        body["response_format"] = {"type": "json_object"}
    if wants_logprobs(request):  # at least one alternative: llama-server takes 0 for none at all
        body |= {"logprobs": True, "top_logprobs": max(1, sampling.n_logprobs or 0)}
    return body


def _completion_form(request: GenerationRequest) -> Body:
    sampling = request.sampling
    body: Body = {}
    if sampling.json_schema is not None or sampling.json_mode:
        schema = {"type": "object"} if sampling.json_schema is None else sampling.json_schema
        named = {"name": "answer", "schema": schema, "strict": True}
        body |= {"json_schema": schema, "response_format": {"type": "json_schema", "json_schema": named}}
    if wants_logprobs(request):
        body["logprobs"] = max(1, sampling.n_logprobs or 0)
    return body


def _infill(infill: Infill) -> Body:
    extra = [{"filename": file.filename, "text": file.text} for file in infill.extra]
    return {
        "input_prefix": infill.prefix,
        "input_suffix": infill.suffix,
        "input_extra": extra,
        "prompt": infill.middle,
    }


def _message(message: Message) -> Body:
    body: Body = {"role": message.role, "content": message.content}
    if message.reasoning:
        body["reasoning_content"] = message.reasoning
    if message.tool_calls:
        body["content"] = message.content or None
        body["tool_calls"] = [
            {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    if message.name is not None:
        body["name"] = message.name
    return body


def _tools(use: ToolUse) -> Body:
    if not use.tools:
        return {}
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters or {"type": "object", "properties": {}},
            },
        }
        for tool in use.tools
    ]
    choice = use.choice if use.name is None else {"type": "function", "function": {"name": use.name}}
    return {"tools": tools, "tool_choice": choice, "parallel_tool_calls": use.parallel}
