"""What a request's tools mean for one model: how its calls are read, and which grammar holds it to them.

A format is chosen once for each template; a plan is made for each request. `none` offers nothing; `auto` holds a call
to its schema once the model has opened one; `required` and a name hold it from the first token.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mcp_server.engine.chat.chat_template import ChatTemplate
from mcp_server.engine.chat.output_parser import OutputLayout, OutputParser
from mcp_server.engine.chat.reasoning import HARMONY, ReasoningTags, find_tags
from mcp_server.engine.chat.template_traits import PROBE_ARGUMENTS, PROBE_NAME, PROBE_TOOL
from mcp_server.engine.chat.tool_formats.catalogue import FENCED, FORMATS, HERMES, PLAIN
from mcp_server.engine.chat.tool_formats.format import ToolFormat
from mcp_server.engine.chat.tool_grammar import (
    Thought,
    answer_after_thought,
    calls_or_answer,
    forced_calls,
    possible_calls,
)
from mcp_server.engine.grammar.grammar import Grammar, grammar_of
from mcp_server.engine.types import GenerationRequest, Tool, ToolUse
from mcp_server.errors import InvalidRequestError

MAX_TOOLS = 256  # of one request
MAX_NAME_CHARS = 256  # of a tool's name
FORBIDDEN_IN_NAMES = frozenset("<>\"'{}[]|=\\")  # marks of one format or another


@dataclass(frozen=True)
class ModelTongue:
    """How one model writes calls and reasoning, read off its template."""

    formats: tuple[ToolFormat, ...]  # its own first, then those read beside it
    tags: ReasoningTags | None

    @property
    def own(self) -> ToolFormat:
        """The model's own format of calls."""
        return self.formats[0]


@dataclass(frozen=True)
class OutputPlan:
    """How the output of a request is held and read."""

    layout: OutputLayout
    grammar: Grammar | None


def learn_tongue(template: ChatTemplate, words: Sequence[str] = ()) -> ModelTongue:
    """Find out how a template's model writes; `words` are the texts of its special tokens."""
    traits = template.traits
    tags = find_tags(template.source, traits.call_text, traits.opening)
    own = _own_format(template, words) if traits.knows_tools or traits.knows_calls else HERMES
    formats = [own]
    for other in (HERMES, PLAIN, FENCED):
        if not _clashes(other, formats, tags):
            formats.append(other)
    return ModelTongue(tuple(formats), tags)


def offered_tools(tool_use: ToolUse) -> tuple[Tool, ...]:
    """Give the functions that the model is told of; none when it may call none."""
    if tool_use.name is not None:
        return tuple(tool for tool in tool_use.tools if tool.name == tool_use.name)
    return () if tool_use.choice == "none" else tool_use.tools


def check_tool_use(request: GenerationRequest) -> None:
    """Refuse tools that cannot be used as given.

    Raises:
        InvalidRequestError: A name is missing, twice there or not usable, or what is asked for contradicts itself.
    """
    use = request.tool_use
    names = [tool.name for tool in use.tools]
    is_forced = _is_forced(use)
    sampling = request.sampling
    rules = (
        (len(names) > MAX_TOOLS, f"There are {len(names)} tools; at most {MAX_TOOLS} can be offered.", "tools"),
        (len(set(names)) < len(names), "Two tools have one name; give each its own.", "tools"),
        (use.tools and not request.messages, "Tools need `messages`; a raw prompt has no place for them.", "tools"),
        (is_forced and not names, "A tool call is required, but there are no tools; offer one.", "tool_choice"),
        (
            use.choice == "none" and use.name is not None,
            f"The call of {use.name!r} is required and calls are forbidden; leave `name` or `choice` out.",
            "tool_choice",
        ),
        (
            use.name is not None and use.name not in names,
            f"`tool_choice` names {use.name!r}, which is not among the tools.",
            "tool_choice",
        ),
        (
            is_forced and (sampling.grammar is not None or sampling.json_mode or sampling.json_schema is not None),
            "A required tool call and a form of the answer exclude each other; leave one of them out.",
            "tool_choice",
        ),
    )
    for is_bad, message, param in rules:
        if is_bad:
            raise InvalidRequestError(message, param=param)
    for name in names:
        if not name or len(name) > MAX_NAME_CHARS or FORBIDDEN_IN_NAMES & set(name) or name.split() != [name]:
            msg = f"{name[:40]!r} cannot be the name of a tool: use letters, digits, dashes and underscores."
            raise InvalidRequestError(msg, param="tools")
    for tool in use.tools:
        properties, needed = tool.parameters.get("properties", {}), tool.parameters.get("required", [])
        if not isinstance(properties, dict) or not isinstance(needed, list):
            msg = f"The parameters of {tool.name!r} are no JSON schema: `properties` is an object, `required` an array."
            raise InvalidRequestError(msg, param="tools")


def _is_forced(use: ToolUse) -> bool:
    """Tell whether the answer must be a call."""
    return use.choice == "required" or use.name is not None


def plan_output(request: GenerationRequest, tongue: ModelTongue, thought: Thought | None) -> OutputPlan:
    """Plan how the output of a conversation is held and read; `thought` is the reasoning that may come first.

    Raises:
        InvalidRequestError: The tools or the grammar cannot be used.
    """
    tools = offered_tools(request.tool_use)
    layout = OutputLayout(
        tags=tongue.tags,
        starts_inside=thought is not None and thought.is_open,
        keeps_reasoning=request.output.reasoning == "inline",
        formats=tongue.formats if tools else (),
        schemas={tool.name: tool.parameters for tool in tools},
        max_calls=None if request.tool_use.parallel else 1,
    )
    return OutputPlan(layout, _grammar(request, tongue, tools, thought))


def plan_text(request: GenerationRequest) -> OutputPlan:
    """Plan the output of a raw prompt: it is text."""
    return OutputPlan(OutputLayout(), grammar_of(request.sampling))


def _grammar(
    request: GenerationRequest, tongue: ModelTongue, tools: Sequence[Tool], thought: Thought | None
) -> Grammar | None:
    answer = grammar_of(request.sampling)
    use = request.tool_use
    if not tools:
        return answer if answer is None or thought is None else answer_after_thought(answer.text, thought)
    writing = tongue.own.writing or HERMES.writing or PLAIN.writing
    if writing is None:
        return None
    if _is_forced(use):
        return forced_calls(writing, tools, parallel=use.parallel, thought=thought)
    if answer is not None:
        return calls_or_answer(writing, tools, answer.text, parallel=use.parallel, thought=thought)
    return possible_calls(tongue.own, tools, parallel=use.parallel, thought=thought)


def _own_format(template: ChatTemplate, words: Sequence[str]) -> ToolFormat:
    """Give the first format that reads the call which the template writes, else one whose mark it or a token is."""
    traits = template.traits
    schemas = {PROBE_NAME: PROBE_TOOL["function"]["parameters"]}  # type: ignore[index]  # a literal of ours
    for one in FORMATS:
        if not any(mark in traits.call_text for mark in one.marks[:1]):
            continue
        parser = OutputParser(OutputLayout(formats=(one,), schemas=schemas))
        segments = [*parser.feed(traits.call_text), *parser.finish()]
        calls = [call for segment in segments for call in segment.calls]
        if [(call.name, call.arguments) for call in calls] == [(PROBE_NAME, PROBE_ARGUMENTS)]:
            return one
    told = (template.source, *words)
    marked = (
        one for one in FORMATS if not one.only_at_start and any(mark in text for mark in one.marks for text in told)
    )
    return next(marked, HERMES)


def _clashes(one: ToolFormat, others: Sequence[ToolFormat], tags: ReasoningTags | None) -> bool:
    """Tell whether marks of a format would hide those of others, by being equal or one's beginning."""
    taken = [mark for other in others for mark in other.marks]
    taken += [tags.open, *tags.drops] if tags else []
    return any(mark.startswith(old) or old.startswith(mark) for mark in one.marks for old in taken) or tags is HARMONY
