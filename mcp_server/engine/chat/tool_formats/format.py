"""What a format of tool calls is: the marks that open it, what reads it, what is left over, and how it is written."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from mcp_server.engine.chat.tool_formats.scanning import Scanner, Schemas

Shape = Literal["object", "keyed", "named", "tagged"]


@dataclass(frozen=True)
class ParameterTags:
    """How a tagged format writes one argument: `{key}` stands for its name."""

    open: str
    close: str
    text_hint: str = ""  # put in place of `{hint}` for texts
    json_hint: str = ""  # and for other values


@dataclass(frozen=True)
class Writing:
    """How calls are written, to the letter: what a grammar allows.

    All of them: section_open, then the calls with `between` between them, then section_close. One of them: call_open,
    its body by `shape`, call_close.
    """

    shape: Shape
    section_open: str = ""
    call_open: str = ""
    between: str = "\n"
    call_close: str = ""
    section_close: str = ""
    name_key: str = "name"
    arguments_key: str = "arguments"
    name_end: str = ""  # named and tagged: between the name and the arguments
    parameter: ParameterTags | None = None  # tagged only
    body_close: str = ""  # tagged only: behind the last argument


@dataclass(frozen=True)
class ToolFormat:
    """One way of writing tool calls."""

    name: str
    marks: tuple[str, ...]  # any of them opens a call
    make_scanner: Callable[[str, Schemas], Scanner]  # of the mark that was met
    ends: tuple[str, ...] = ()  # swallowed behind a call, with the white space around them
    only_at_start: bool = False  # its marks are everyday letters: they open a call only before any other text
    is_forgiving: bool = False  # read beside the model's own format, where that has other marks
    writing: Writing | None = None  # None: no grammar can be made
