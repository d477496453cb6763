"""The formats of tool calls that published models write, and which of them a template's model uses.

A format is chosen by its reader: the template writes a call, and the first format that reads the same call back is the
model's. A template that writes none is searched for a format's marks. Names of models play no part. Order matters only
between formats that could read each other's calls.
"""

import re
from functools import partial

from mcp_server.engine.chat.tool_formats.code import GemmaScanner, PythonScanner
from mcp_server.engine.chat.tool_formats.format import ParameterTags, ToolFormat, Writing
from mcp_server.engine.chat.tool_formats.scanning import NamedScanner, ObjectScanner, Schemas
from mcp_server.engine.chat.tool_formats.tagged import TaggedScanner

NAME = r"(?P<name>[^\s<>\[\]{}|]+?)"
EQUALS_HEAD = rf"(?:<[\w:]*tool_call>\s*)?<function={NAME}>"
ATTRIBUTE_HEAD = rf"(?:<[^<>]*calls?>\s*)?<[^<>\s]*(?:invoke|function)\s+name=\"{NAME}\"\s*>"


def _objects(name: str, mark: str, *ends: str, writing: Writing) -> ToolFormat:
    return ToolFormat(name, (mark,), ObjectScanner, ends, writing=writing)


def _named(name: str, marks: tuple[str, ...], head: str, *ends: str, writing: Writing) -> ToolFormat:
    return ToolFormat(name, marks, lambda mark, _schemas: NamedScanner(mark, head), ends, writing=writing)


def _tagged(name: str, marks: tuple[str, ...], head: str, *ends: str, writing: Writing | None) -> ToolFormat:
    close, *others = ends
    make = partial(TaggedScanner, head=head, close=close)
    return ToolFormat(name, marks, make, tuple(others), writing=writing)


def _python(_mark: str, _schemas: Schemas) -> PythonScanner:
    return PythonScanner()


def _gemma(_mark: str, _schemas: Schemas) -> GemmaScanner:
    return GemmaScanner()


def _plain(mark: str, schemas: Schemas) -> ObjectScanner:
    scanner = ObjectScanner(mark, schemas, needs_arguments=True)
    for char in mark if mark[0] in "{[" else "":  # the mark is part of the value
        scanner.feed(char)
    return scanner


HERMES = _objects(
    "hermes",
    "<tool_call>",
    "</tool_call>",
    writing=Writing("object", call_open="<tool_call>\n", call_close="\n</tool_call>"),
)
PLAIN = ToolFormat(
    "plain",
    ("{", "[{", "[ {", "[\n"),
    _plain,
    only_at_start=True,
    is_forgiving=True,
    writing=Writing("object", between="\n"),
)
PLAIN_PARAMETERS = ToolFormat(
    "plain-parameters",
    ("{", "<|python_tag|>"),
    _plain,
    (";",),
    only_at_start=True,
    writing=Writing("object", between="; ", arguments_key="parameters"),
)
FENCED = ToolFormat("fenced", ("```json", "```tool_call", "```tool_code"), _plain, ("```",), only_at_start=True)

DEEPSEEK_CALL, DEEPSEEK_SEP = "<\uff5ctool\u2581call\u2581begin\uff5c>", "<\uff5ctool\u2581sep\uff5c>"
DEEPSEEK_CALL_END = "<\uff5ctool\u2581call\u2581end\uff5c>"
DEEPSEEK_OPEN, DEEPSEEK_CLOSE = "<\uff5ctool\u2581calls\u2581begin\uff5c>", "<\uff5ctool\u2581calls\u2581end\uff5c>"
DSML = "\uff5cDSML\uff5c"


def _deepseek(name: str, before: str, after: str, *ends: str) -> ToolFormat:
    head = rf"(?:{DEEPSEEK_OPEN}\s*)?(?:{DEEPSEEK_CALL})?{re.escape(before)}{NAME}{re.escape(after)}"
    writing = Writing(
        "named",
        section_open=DEEPSEEK_OPEN,
        call_open=DEEPSEEK_CALL + before,
        name_end=after,
        call_close="".join(ends) + DEEPSEEK_CALL_END,
        section_close=DEEPSEEK_CLOSE,
    )
    closing = (*(end.strip() for end in ends), DEEPSEEK_CALL_END, DEEPSEEK_CLOSE)
    return _named(name, (DEEPSEEK_OPEN, DEEPSEEK_CALL), head, *closing, writing=writing)


def _invoking(name: str, prefix: str, section: str) -> ToolFormat:
    """Make a format with `<invoke name="f"><parameter name="k">v</parameter></invoke>` in a section."""
    hint = ' string="{hint}"' if prefix == DSML else ""
    tags = ParameterTags(f'<{prefix}parameter name="{{key}}"{hint}>', f"</{prefix}parameter>\n", "true", "false")
    writing = Writing(
        "tagged",
        section_open=f"<{section}>\n",
        call_open=f'<{prefix}invoke name="',
        name_end='">\n',
        parameter=tags,
        body_close=f"</{prefix}invoke>",
        section_close=f"\n</{section}>",
    )
    marks = (f"<{section}>", f"<{prefix}invoke")
    return _tagged(name, marks, ATTRIBUTE_HEAD, f"</{prefix}invoke>", f"</{section}>", writing=writing)


def _argument_pairs(name: str, suffix: str = "", after_name: str = "") -> ToolFormat:
    """Make a format with `<tool_call>f<arg_key>k</arg_key><arg_value>v</arg_value></tool_call>`."""
    tags = ParameterTags(f"<arg_key{suffix}>{{key}}</arg_key{suffix}>\n<arg_value{suffix}>", f"</arg_value{suffix}>\n")
    writing = Writing(
        "tagged",
        section_open=f"<tool_calls{suffix}>\n" if suffix else "",
        call_open=f"<tool_call{suffix}>",
        name_end=f"{after_name}\n",
        parameter=tags,
        body_close=f"</tool_call{suffix}>",
        section_close=f"\n</tool_calls{suffix}>" if suffix else "",
    )
    opening = rf"(?:<tool_calls{suffix}>\s*)?<tool_call{suffix}>" if suffix else r"<tool_call>"
    head = rf"{opening}\s*{NAME}\s*(?:{re.escape(after_name)})?\s*(?=<arg_key|$)"
    marks = (f"<tool_call{suffix}>", *((f"<tool_calls{suffix}>",) if suffix else ()))
    return _tagged(name, marks, head, f"</tool_call{suffix}>", f"</tool_calls{suffix}>", writing=writing)


def _function_tags(name: str, section: str, line_end: str) -> ToolFormat:
    """Make a format with `<function=f><parameter=k>v</parameter></function>` in a section."""
    tags = ParameterTags(f"<parameter={{key}}>{line_end}", f"{line_end}</parameter>\n")
    writing = Writing(
        "tagged",
        call_open=f"<{section}>\n<function=",
        name_end=">\n",
        parameter=tags,
        body_close="</function>",
        call_close=f"\n</{section}>",
    )
    marks = (f"<{section}>", "<function=")
    return _tagged(name, marks, EQUALS_HEAD, "</function>", f"</{section}>", writing=writing)


FORMATS: tuple[ToolFormat, ...] = (
    HERMES,
    _function_tags("function-tags", "tool_call", "\n"),
    _function_tags("seed-tags", "seed:tool_call", ""),
    _argument_pairs("argument-pairs"),
    _argument_pairs("argument-pairs-opensource", ":opensource", "<tool_sep:opensource>"),
    _invoking("minimax", "", "minimax:tool_call"),
    _invoking("dsml-functions", DSML, f"{DSML}function_calls"),
    _invoking("dsml-tools", DSML, f"{DSML}tool_calls"),
    _invoking("atem", "atem:", "atem:function_calls"),
    _tagged(
        "function-attributes",
        ("<function name=",),
        ATTRIBUTE_HEAD,
        "</function>",
        writing=Writing(
            "tagged",
            call_open='<function name="',
            name_end='">',
            parameter=ParameterTags('<param name="{key}">', "</param>"),
            body_close="</function>",
        ),
    ),
    _named(
        "mistral-named",
        ("[TOOL_CALLS]",),
        rf"\[TOOL_CALLS\]\s*{NAME}(?:\[CALL_ID\]\w+)?(?:\[ARGS\])?\s*",
        writing=Writing("named", call_open="[TOOL_CALLS]", between="", name_end="[ARGS]"),
    ),
    _objects(
        "mistral-array",
        "[TOOL_CALLS]",
        writing=Writing("object", section_open="[TOOL_CALLS][", between=", ", section_close="]"),
    ),
    _named(
        "functionary",
        ("<function=",),
        rf"<function={NAME}>\s*",
        "</function>",
        writing=Writing("named", call_open="<function=", between="", name_end=">", call_close="</function>"),
    ),
    _deepseek("deepseek-fenced", f"function{DEEPSEEK_SEP}", "\n```json\n", "\n```"),
    _deepseek("deepseek", "", DEEPSEEK_SEP),
    _named(
        "kimi",
        ("<|tool_calls_section_begin|>", "<|tool_call_begin|>"),
        r"(?:<\|tool_calls_section_begin\|>\s*)?(?:<\|tool_call_begin\|>)?\s*(?:functions\.)?"
        r"(?P<name>[^\s<>:]+)(?::\d+)?\s*<\|tool_call_argument_begin\|>\s*",
        "<|tool_call_end|>",
        "<|tool_calls_section_end|>",
        writing=Writing(
            "named",
            section_open="<|tool_calls_section_begin|>",
            call_open="<|tool_call_begin|>functions.",
            between="",
            name_end=":0<|tool_call_argument_begin|>",
            call_close="<|tool_call_end|>",
            section_close="<|tool_calls_section_end|>",
        ),
    ),
    _named(
        "harmony",
        ("to=functions.", "<|channel|>commentary to=functions."),
        r"(?:<\|channel\|>commentary )?to=functions\.(?P<name>[^\s<>]+)"
        r"(?:<\|channel\|>commentary)?\s*(?:<\|constrain\|>)?(?:json)?\s*<\|message\|>\s*",
        "<|call|>",
        writing=Writing(
            "named",
            call_open="<|channel|>commentary to=functions.",
            name_end=" <|constrain|>json<|message|>",
            call_close="<|call|>",
        ),
    ),
    _named(
        "solar",
        ("<|tool_calls|>", "<|tool_call:begin|>"),
        r"(?:<\|tool_calls\|>\s*)?(?:<\|tool_call:begin\|>)?[^<>]*<\|tool_call:name\|>"
        r"(?P<name>[^\s<>]+)<\|tool_call:args\|>\s*",
        "<|tool_call:end|>",
        writing=Writing(
            "named",
            section_open="<|tool_calls|>",
            call_open="<|tool_call:begin|>call<|tool_call:name|>",
            between="",
            name_end="<|tool_call:args|>",
            call_close="<|tool_call:end|>",
        ),
    ),
    ToolFormat(
        "apertus",
        ("<|tools_prefix|>",),
        ObjectScanner,
        ("<|tools_suffix|>",),
        writing=Writing("keyed", section_open="<|tools_prefix|>[", between=", ", section_close="]<|tools_suffix|>"),
    ),
    _objects(
        "tool-calls-array",
        "<tool_calls>",
        "</tool_calls>",
        writing=Writing("object", section_open="<tool_calls>[", between=", ", section_close="]</tool_calls>"),
    ),
    _objects(
        "nemotron",
        "<TOOLCALL>",
        "</TOOLCALL>",
        writing=Writing("object", section_open="<TOOLCALL>[", between=", ", section_close="]</TOOLCALL>"),
    ),
    _objects(
        "cohere",
        "<|START_ACTION|>",
        "<|END_ACTION|>",
        writing=Writing(
            "object",
            section_open="<|START_ACTION|>[",
            between=", ",
            section_close="]<|END_ACTION|>",
            name_key="tool_name",
            arguments_key="parameters",
        ),
    ),
    _objects(
        "granite",
        "<|tool_call|>",
        "<|/tool_call|>",
        writing=Writing("object", section_open="<|tool_call|>[", between=", ", section_close="]"),
    ),
    _objects("gigachat", "<|function_call|>", writing=Writing("object", section_open="<|function_call|>", between="")),
    _objects(
        "functools", "functools", writing=Writing("object", section_open="functools[", between=", ", section_close="]")
    ),
    ToolFormat("lfm", ("<|tool_call_start|>",), _python, ("<|tool_call_end|>",)),
    ToolFormat("gemma", ("<|tool_call>",), _gemma, ("<tool_call|>",)),
    PLAIN_PARAMETERS,
    PLAIN,
)
