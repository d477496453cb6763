"""A request to the tokens that a model computes first: from messages, raw text, token ids or a gap to fill.

Exactly one of the four is given. In messages, tools and their results no text becomes a special token
(`special_tokens`); a raw prompt is its writer's own business, so special tokens in it are recognised. BOS comes once,
where the model wants it. Too long is refused with both numbers, before tokenizing where the size alone tells.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from mcp_server.engine.chat.chat_template import ChatTemplate
from mcp_server.engine.chat.infill import FimTokens, infill_room, infill_tokens
from mcp_server.engine.chat.special_tokens import Shield, SpecialToken, SpecialTokens
from mcp_server.engine.chat.tool_grammar import Thought
from mcp_server.engine.chat.tool_plan import (
    ModelTongue,
    OutputPlan,
    check_tool_use,
    learn_tongue,
    offered_tools,
    plan_output,
    plan_text,
)
from mcp_server.engine.native.llama import native
from mcp_server.engine.native.vocabulary import Vocabulary, count_bytes
from mcp_server.engine.types import GenerationRequest, ModelProperties
from mcp_server.errors import ContextLengthError, InvalidRequestError

SOURCES = ("messages", "prompt", "prompt_token_ids", "infill")
NO_TOKEN = -1


@dataclass(frozen=True)
class Prompt:
    """What is computed first, and how what follows is held and read."""

    token_ids: list[int]
    text: str  # special tokens spelt out
    starts_inside: bool = False  # it ends inside a reasoning block
    has_thought: bool = False  # it ends behind one, so no other is due


class PromptMaker:
    """Makes the prompts of one loaded model."""

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate, context_tokens: int, model_id: str) -> None:
        self._vocabulary = vocabulary
        self._template = template
        self._context_tokens = context_tokens
        self._model_id = model_id

    @cached_property
    def special(self) -> SpecialTokens:
        """The special tokens of the vocabulary; walks over all tokens once."""
        return read_special_tokens(self._vocabulary)

    @cached_property
    def fim(self) -> FimTokens:
        """The tokens for infill."""
        return read_fim_tokens(self._vocabulary)

    @cached_property
    def tongue(self) -> ModelTongue:
        """How the model writes tool calls and reasoning."""
        return learn_tongue(self._template, self.special.texts)

    def make(self, request: GenerationRequest) -> Prompt:
        """Make the prompt of a request.

        Raises:
            InvalidRequestError: Not exactly one source is given, or it cannot be used.
            ContextLengthError: It does not fit the model's context.
            NotSupportedError: A gap is to be filled, and the model has no tokens for that.
        """
        source = _source(request)
        check_tool_use(request)
        if request.template.continue_final_message and source != "messages":
            msg = "Only messages can be continued by `continue_final_message`."
            raise InvalidRequestError(msg, param="continue_final_message")
        if source == "messages":
            return self._from_messages(request)
        if source == "infill":
            tokens = self._from_infill(request)
        elif source == "prompt_token_ids":
            tokens = self._checked_ids(request.prompt_token_ids)
        else:
            return self._fitting(str(request.prompt), lambda: self._vocabulary.encode(str(request.prompt)), source)
        self._check_length(len(tokens), source)
        return Prompt(tokens, self.spell(tokens))

    def plan(self, request: GenerationRequest, prompt: Prompt) -> OutputPlan:
        """Plan how the output of a request is held and read.

        Raises:
            InvalidRequestError: Its tools or its grammar cannot be used.
        """
        if not request.messages:
            return plan_text(request)
        thought = None
        if self.tongue.tags and not prompt.has_thought:
            thought = Thought(self.tongue.tags, is_open=prompt.starts_inside)
        return plan_output(request, self.tongue, thought)

    def spell(self, tokens: list[int]) -> str:
        """Give the text of tokens, special ones too."""
        data = b"".join(self._vocabulary.piece(token, with_special=True) for token in tokens)
        return data.decode("utf-8", "replace")

    def shown_tokens(self, plan: OutputPlan) -> frozenset[int]:
        """Give the control tokens whose letters the output's reader must see."""
        return self.special.shown_in(plan.layout.marks)

    def described(self, properties: ModelProperties) -> ModelProperties:
        """Complete what a model can do by what its template and vocabulary say."""
        traits = self._template.traits
        return replace(
            properties,
            can_infill=self.fim.can_infill,
            has_native_tools=traits.knows_tools and traits.knows_calls,
            has_reasoning=self.tongue.tags is not None,
        )

    def _from_messages(self, request: GenerationRequest) -> Prompt:
        tags = self.tongue.tags
        thinking = (tags.open, tags.close) if tags else ()
        skeleton = self._template.traits.skeleton
        turns = [token.text for token in self.special if token.text in skeleton and token.text not in thinking]
        shield = self.special.shield(turns)
        text = self._template.render(request.messages, offered_tools(request.tool_use), request.template, shield)
        prompt = self._fitting(shield.reveal(text), lambda: self._encode_shielded(text, shield), "messages")
        if tags is None:
            return prompt
        if request.template.continue_final_message:
            final = request.messages[-1]
            is_inside = bool(final.reasoning and not final.content) or tags.is_open_in(final.content)
            return replace(prompt, starts_inside=is_inside, has_thought=not is_inside)
        has_thought = prompt.text.rstrip().endswith(tags.close)
        return replace(prompt, starts_inside=tags.starts_inside(prompt.text), has_thought=has_thought)

    def _encode_shielded(self, text: str, shield: Shield) -> list[int]:
        """Tokenize a rendered prompt in which the special texts of its words are hidden."""
        if not shield.words:
            return self._vocabulary.encode(text)
        tokens: list[int] = []
        for piece in self.special.split(text):
            if piece.token is not None:
                tokens.append(piece.token.token_id)
                continue
            for part in shield.plain_parts(piece.text):
                tokens += self._vocabulary.encode(part, is_prompt=False, parse_special=False)
        bos = self._vocabulary.encode("", is_prompt=True)
        return tokens if tokens[: len(bos)] == bos else bos + tokens

    def _from_infill(self, request: GenerationRequest) -> list[int]:
        assert request.infill is not None, "the source is infill"  # noqa: S101  # an invariant of ours

        def encode(text: str) -> list[int]:
            return self._vocabulary.encode(text, is_prompt=False, parse_special=False) if text else []

        room = infill_room(self._context_tokens, request.sampling.max_tokens)
        return infill_tokens(request.infill, self.fim, encode, room)

    def _checked_ids(self, token_ids: tuple[int, ...]) -> list[int]:
        for token in token_ids:
            if not 0 <= token < self._vocabulary.n_tokens:
                msg = f"{token} is no token of this model; its ids are 0 to {self._vocabulary.n_tokens - 1}."
                raise InvalidRequestError(msg, param="prompt_token_ids")
        return list(token_ids)

    def _fitting(self, text: str, encode: Callable[[], list[int]], source: str) -> Prompt:
        """Tokenize, unless the size alone says that it cannot fit."""
        if not text:
            msg = "The prompt is empty; give at least one character."
            raise InvalidRequestError(msg, param=source)
        if self._vocabulary.exceeds(text, self._context_tokens):
            size = f"{count_bytes(text)} bytes, more than {self._context_tokens} tokens can hold"
            raise self._too_long(size, source)
        tokens = encode()
        self._check_length(len(tokens), source)
        return Prompt(tokens, text)

    def _check_length(self, n_tokens: int, source: str) -> None:
        if n_tokens >= self._context_tokens:
            raise self._too_long(f"{n_tokens} tokens", source)

    def _too_long(self, size: str, source: str) -> ContextLengthError:
        msg = (
            f"The prompt has {size}; {self._model_id} has a context of {self._context_tokens} tokens, prompt and "
            "completion together. Shorten the prompt."
        )
        return ContextLengthError(msg, param=source)


def read_special_tokens(vocabulary: Vocabulary) -> SpecialTokens:
    """Read the special tokens of a vocabulary; 0.1 s for 150,000 tokens."""
    control = native.LLAMA_TOKEN_ATTR_CONTROL | native.LLAMA_TOKEN_ATTR_UNKNOWN
    wanted = control | native.LLAMA_TOKEN_ATTR_USER_DEFINED
    tokens = []
    for token in range(vocabulary.n_tokens):
        attributes = native.llama_vocab_get_attr(vocabulary.handle, token)
        if attributes & wanted:
            text = vocabulary.piece(token, with_special=True).decode("utf-8", "replace")
            strips = (
                bool(attributes & native.LLAMA_TOKEN_ATTR_LSTRIP),
                bool(attributes & native.LLAMA_TOKEN_ATTR_RSTRIP),
            )
            tokens.append(SpecialToken(token, text, bool(attributes & control), *strips))
    return SpecialTokens(tokens)


def read_fim_tokens(vocabulary: Vocabulary) -> FimTokens:
    """Read the tokens for infill."""
    handle = vocabulary.handle
    readers = (
        native.llama_vocab_fim_pre,
        native.llama_vocab_fim_suf,
        native.llama_vocab_fim_mid,
        native.llama_vocab_fim_rep,
        native.llama_vocab_fim_sep,
    )
    prefix, suffix, middle, repository, file = (
        None if (token := int(read(handle))) == NO_TOKEN else token for read in readers
    )
    adds_bos = bool(native.llama_vocab_get_add_bos(handle))
    bos = int(native.llama_vocab_bos(handle)) if adds_bos else NO_TOKEN
    return FimTokens(prefix, suffix, middle, repository, file, None if bos == NO_TOKEN else bos)


def _source(request: GenerationRequest) -> str:
    given = [name for name in SOURCES if getattr(request, name) not in (None, ())]
    if len(given) != 1:
        what = "none of them is there" if not given else f"{' and '.join(given)} are there"
        msg = f"Give exactly one of `messages`, `prompt`, `prompt_token_ids` and `infill`; {what}."
        raise InvalidRequestError(msg, param=given[-1] if given else "messages")
    return given[0]
