"""The chat templates of seventy published models: each renders chats, tools and results, and is read for its format."""

import pytest

from mcp_server.engine.chat.chat_template import ChatTemplate
from mcp_server.engine.chat.tool_plan import learn_tongue
from mcp_server.engine.types import Message, TemplateParams, Tool, ToolCall
from mcp_server.errors import InvalidRequestError
from tests.chat_templates import N_TEMPLATES, chat_templates

CITY = {"type": "string", "description": "Where"}
WEATHER = Tool("get_weather", "Weather", {"type": "object", "properties": {"city": CITY}})
TOOLS = (WEATHER, Tool("now"))
ROME = ToolCall("call_0123456789abcdef01234567", "get_weather", '{"city": "Rometown"}')
NOW = ToolCall("call_76543210fedcba9876543210", "now", "{}")
ASKED = (Message("system", "Bebriefplease."), Message("user", "Daisyquestion"))
ANSWERED = (
    *ASKED,
    Message("assistant", "", tool_calls=(ROME, NOW)),
    Message("tool", "Sunnyresult", tool_call_id=ROME.call_id),
    Message("tool", "Noonresult", tool_call_id=NOW.call_id),
)

# What each template's model writes, by the template's own words.
FORMATS = {
    "hermes": (
        "Bielik-11B-v3.0-Instruct HuggingFaceTB-SmolLM3-3B MiMo-VL NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use "
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use Qwen-QwQ-32B Qwen-Qwen2.5-7B-Instruct Qwen-Qwen3-0.6B Reka-Edge "
        "ibm-granite-granite-4.0 ibm-granite-granite-4.1"
    ),
    "function-tags": "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16 Qwen3-Coder Qwen3.5-4B StepFun3.5-Flash",
    "seed-tags": "ByteDance-Seed-OSS",
    "argument-pairs": (
        "GLM-4.6 GLM-4.7-Flash Spark2.5 inclusionai-ling-3.0-flash poolside-Laguna-S-2.1 poolside-Laguna-XS-2.1 "
        "poolside-Laguna-XS.2"
    ),
    "argument-pairs-opensource": "tencent-Hy3",
    "minimax": "MiniMax-M2",
    "dsml-functions": "deepseek-ai-DeepSeek-V3.2",
    "dsml-tools": "deepseek-ai-DeepSeek-V4 deepseek-ai-DeepSeek-V4-Flash-0731",
    "atem": "muse-glimmer",
    "function-attributes": "openbmb-MiniCPM5-1B",
    "mistral-named": (
        "Mistral-Small-3.2-24B-Instruct-2506 mistralai-Ministral-3-14B-Reasoning-2512 "
        "unsloth-mistral-Devstral-Small-2507"
    ),
    "mistral-array": "mistralai-Mistral-Nemo-Instruct-2407",
    "functionary": "meetkai-functionary-medium-v3.1",
    "deepseek-fenced": "deepseek-ai-DeepSeek-R1-Distill-Llama-8B deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
    "deepseek": "deepseek-ai-DeepSeek-V3.1",
    "kimi": "Kimi-K2-Instruct Kimi-K2-Thinking moonshotai-Kimi-K2",
    "harmony": "openai-gpt-oss-120b",
    "solar": "upstage-Solar-Open-100B",
    "apertus": "Apertus-8B-Instruct",
    "tool-calls-array": "Apriel-1.6-15b-Thinker-fixed MiniMax-M1 unsloth-Apriel-1.5",
    "nemotron": "NVIDIA-Nemotron-Nano-v2",
    "cohere": "Cohere2MoE CohereForAI-c4ai-command-r7b-12-2024-tool_use",
    "granite": "ibm-granite-granite-3.3-2B-Instruct",
    "gigachat": "GigaChat3.1-10B-A1.8B",
    "functools": "fireworks-ai-llama-3-firefunction-v2",
    "lfm": "LFM2.5-8B-A1B",
    "gemma": "google-gemma-4-31B-it google-gemma-4-31B-it-interleaved",
    "plain-parameters": (
        "meta-llama-Llama-3.1-8B-Instruct meta-llama-Llama-3.2-3B-Instruct meta-llama-Llama-3.3-70B-Instruct"
    ),
}

# They know tools, but write calls in ways that are not read here: such calls stay text.
UNREAD = {
    "CohereForAI-c4ai-command-r-plus-tool_use",
    "GigaChat3-10B-A1.8B",
    "Kimi-K3",
    "LFM2-8B-A1B",  # its template does not say how calls are written, its vocabulary does
    "LFM2.5-Instruct",  # as that one
    "MiniMax-M3",
    "meetkai-functionary-medium-v3.2",
}

# They know no tools: these are described in words.
WITHOUT_TOOLS = {
    "google-gemma-2-2b-it",
    "llama-cpp-deepseek-r1",
    "llama-cpp-rwkv-world",
    "microsoft-Phi-3.5-mini-instruct",
}

REASONING = {
    "Apertus-8B-Instruct": "<|inner_prefix|>",
    "ByteDance-Seed-OSS": "<seed:think>",
    "Cohere2MoE": "<|START_THINKING|>",
    "Qwen-Qwen3-0.6B": "<think>",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "<think>",
    "google-gemma-4-31B-it": "<|channel>thought\n",
    "mistralai-Ministral-3-14B-Reasoning-2512": "[THINK]",
    "openai-gpt-oss-120b": "<|channel|>analysis<|message|>",
    "Qwen-Qwen2.5-7B-Instruct": None,
    "meta-llama-Llama-3.1-8B-Instruct": None,
}


@pytest.fixture(scope="module")
def templates() -> dict[str, ChatTemplate]:
    sources = chat_templates()
    return {name: ChatTemplate(text, bos_token="<BOS>", eos_token="<EOS>") for name, text in sources.items()}  # noqa: S106  # tokens of models


def test_every_template_renders_every_kind_of_conversation(templates: dict[str, ChatTemplate]) -> None:
    assert len(templates) == N_TEMPLATES
    for name, template in templates.items():
        for messages, tools, words in (
            (ASKED, (), ("Bebriefplease.", "Daisyquestion")),
            (ASKED, TOOLS, ("get_weather", "now", "Daisyquestion")),
            (ANSWERED, TOOLS, ("Rometown", "Sunnyresult", "Noonresult")),
            ((*ANSWERED, Message("assistant", "Warm."), Message("user", "Thankyou")), TOOLS, ("Warm.", "Thankyou")),
        ):
            rendered = template.render(messages, tools)
            assert not [word for word in words if word not in rendered], name


def test_a_template_that_wants_more_than_is_given_refuses_with_its_reason(templates: dict[str, ChatTemplate]) -> None:
    bare = Tool("f", "", {"type": "object", "properties": {"x": {"type": "string"}}})
    with pytest.raises(InvalidRequestError, match="no attribute 'description'") as caught:
        templates["CohereForAI-c4ai-command-r-plus-tool_use"].render(ASKED, (bare,))
    assert caught.value.param == "messages"


def test_every_template_can_go_on_with_an_answer(templates: dict[str, ChatTemplate]) -> None:
    begun = (*ASKED, Message("assistant", "Once upon "))
    for name, template in templates.items():
        assert template.render(begun, (), TemplateParams(continue_final_message=True)).endswith("Once upon "), name


def test_every_template_says_how_its_model_writes_calls(templates: dict[str, ChatTemplate]) -> None:
    found: dict[str, set[str]] = {}
    for name, template in templates.items():
        if name in WITHOUT_TOOLS:
            assert not template.traits.knows_tools
        elif name not in UNREAD:
            found.setdefault(learn_tongue(template).own.name, set()).add(name)
    assert found == {name: set(models.split()) for name, models in FORMATS.items()}


@pytest.mark.parametrize("name", REASONING)
def test_reasoning_is_found_by_the_tags_of_the_template(templates: dict[str, ChatTemplate], name: str) -> None:
    tags = learn_tongue(templates[name]).tags
    assert (tags.open if tags else None) == REASONING[name]


def test_a_vocabulary_tells_the_format_that_a_template_keeps_to_itself(templates: dict[str, ChatTemplate]) -> None:
    words = ("<|tool_call_start|>", "<|tool_call_end|>")
    assert learn_tongue(templates["LFM2-8B-A1B"], words).own.name == "lfm"


def test_a_template_without_a_system_role_gets_its_words_before_the_users(templates: dict[str, ChatTemplate]) -> None:
    rendered = templates["google-gemma-2-2b-it"].render(ASKED)
    assert "<start_of_turn>user\nBebriefplease.\n\nDaisyquestion<end_of_turn>" in rendered


def test_a_template_without_tools_gets_them_described_and_results_as_words(templates: dict[str, ChatTemplate]) -> None:
    rendered = templates["microsoft-Phi-3.5-mini-instruct"].render(ANSWERED, TOOLS)
    assert '"name": "get_weather"' in rendered
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rometown"}}\n</tool_call>' in rendered
    assert "<tool_response>\nSunnyresult\n</tool_response>\n<tool_response>\nNoonresult\n</tool_response>" in rendered


def test_variables_reach_the_template(templates: dict[str, ChatTemplate]) -> None:
    qwen = templates["Qwen-Qwen3-0.6B"]
    assert qwen.render(ASKED).endswith("<|im_start|>assistant\n")
    closed = qwen.render(ASKED, (), TemplateParams({"enable_thinking": False}))
    assert closed.endswith("<think>\n\n</think>\n\n")
    assert not qwen.render(ASKED, (), TemplateParams({"add_generation_prompt": False})).endswith("assistant\n")


@pytest.mark.parametrize(
    "messages", [ASKED, (*ASKED, Message("assistant", "", tool_calls=(ROME,)))], ids=["the user's", "with calls"]
)
def test_only_an_answer_can_be_continued(templates: dict[str, ChatTemplate], messages: tuple[Message, ...]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        templates["Qwen-Qwen3-0.6B"].render(messages, (), TemplateParams(continue_final_message=True))
    assert caught.value.param == "continue_final_message"
