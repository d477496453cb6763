"""The MCP server: takes capabilities, adds the toolsets, makes every tool error structured, and nothing else.

A tool error is a *result* with `is_error` and structured `{code, message, param}`, whatever its cause: a failure with
a code of ours, arguments that do not fit the schema, an unknown tool, or a defect. The last is logged with its
traceback and told to the caller without details.
"""

import inspect
import logging
from collections.abc import Callable
from types import CodeType
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool, ToolManager
from mcp_types import CallToolResult, InputRequiredResult, TextContent
from pydantic import ValidationError, create_model

from mcp_server.capabilities import Capabilities
from mcp_server.contract import ErrorCode, ToolName
from mcp_server.telemetry import REQUEST_ID_META, request_id
from mcp_server.tools import execution, generation, maintenance, models, retrieval, scoring, texts

log = logging.getLogger(__name__)

TOOLSETS: tuple[Callable[[MCPServer, Capabilities], None], ...] = (
    generation.register,
    texts.register,
    scoring.register,
    execution.register,
    retrieval.register,
    models.register,
    maintenance.register,
)

UNKNOWN_ARGUMENT = {"extra_forbidden", "unexpected_keyword_argument"}  # pydantic's words, for models and dataclasses

Origin = tuple[CodeType, str | None, str, str]  # a function's code, and the tool's name, defaults and options

_described: dict[Origin, Tool] = {}
"""Each tool as first described: its schemas follow from its origin, whatever it closes over, and all of them take
0.3 s, which a process that makes many servers, as tests do, pays once. Types must not come from what it closes over."""

INSTRUCTIONS = """\
Cinque runs one local language model and proves code before anyone relies on it.
Typical work: `retrieve` the code that matters, `generate` a change, `execute` it with tests, repeat until it passes.
Code that no test checked is not verified, whatever the model says of it."""


class GuardedServer(MCPServer[Any]):
    """An MCP server whose tool errors all have the one structured form, and whose descriptions are clean text."""

    def add_tool(  # type: ignore[override]  # every option is passed on as it came
        self, fn: Callable[..., Any], name: str | None = None, **options: Any
    ) -> None:
        """Add a tool that refuses arguments it does not name.

        Its docstring loses the indentation of its source: models pay for every space.
        """
        options["description"] = options.get("description") or inspect.getdoc(fn)
        origin = (fn.__code__, name, repr(fn.__defaults__), repr(options))
        if (described := _described.get(origin)) is None:
            super().add_tool(fn, name, **options)
            if (tool := self._tool_manager.get_tool(name or fn.__name__)) is not None:
                _forbid_unknown(tool)
                _described[origin] = tool
        else:
            tools = [*self._tool_manager.list_tools(), described.model_copy(update={"fn": fn})]
            self._tool_manager = ToolManager(tools=tools)

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool; every failure comes back as a structured error result."""
        token = request_id.set(_request_id(context))
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            return _error_result(name, error)
        finally:
            request_id.reset(token)


def build_server(capabilities: Capabilities) -> MCPServer[Any]:
    """Make the server with every toolset over *capabilities*."""
    server = GuardedServer(
        "cinque",
        title="Cinque",
        description="Generate, score, execute and retrieve code with one local language model.",
        instructions=INSTRUCTIONS,
        version=capabilities.version,
    )
    for register in TOOLSETS:
        register(server, capabilities)
    return server


def _forbid_unknown(tool: Tool) -> None:
    """Refuse unknown arguments, in nested dataclasses too, and say so in the schema: a typo must not be a default.

    The SDK has no option for it; pydantic hands the configuration of the model of arguments on to plain dataclasses.
    """
    known = tool.fn_metadata.arg_model
    tool.fn_metadata.arg_model = create_model(known.__name__, __base__=known, __cls_kwargs__={"extra": "forbid"})
    tool.parameters = tool.fn_metadata.arg_model.model_json_schema(by_alias=True)


def _request_id(context: Context[Any, Any] | None) -> str:
    """Return the door's request id when the caller sent one."""
    try:
        meta = context.request_context.meta if context is not None else None
    except ValueError:  # the SDK's way to say that there is no request
        return ""
    return str((meta or {}).get(REQUEST_ID_META, ""))


def _error_result(name: str, error: ToolError) -> CallToolResult:
    """Turn what the SDK wrapped into the one structured form."""
    cause = error.__cause__
    code = getattr(cause, "code", None)
    if isinstance(cause, ValidationError):
        first = cause.errors(include_url=False)[0]
        param = ".".join(str(part) for part in first["loc"])
        if first["type"] in UNKNOWN_ARGUMENT:
            message = f"{name} has no parameter {param}; its input schema names those it has"
            return _result(ErrorCode.INVALID_REQUEST, message, param)
        return _result(ErrorCode.INVALID_REQUEST, f"{param}: {first['msg']}", param)
    if isinstance(code, str) and code in set(ErrorCode):
        return _result(ErrorCode(code), str(cause), getattr(cause, "param", None))
    if name not in set(ToolName):
        return _result(ErrorCode.UNKNOWN_TOOL, f"there is no tool {name!r}; tools/list has them all", "name")
    log.error("tool failed", extra={"tool": name}, exc_info=cause or error)
    return _result(ErrorCode.INTERNAL_ERROR, f"{name} failed inside Cinque; its log has the cause", None)


def _result(code: ErrorCode, message: str, param: str | None) -> CallToolResult:
    structured = {"code": code.value, "message": message, "param": param}
    return CallToolResult(
        content=[TextContent(type="text", text=f"{code.value}: {message}")],
        structured_content=structured,
        is_error=True,
    )
