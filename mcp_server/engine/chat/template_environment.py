"""The Jinja in which published chat templates run: a sandbox with the few helpers and tags that they use.

Templates are programs from a download: they see copies of what a request says, may change nothing, and reach no
attribute that begins with an underscore. Knows nothing of messages or models.
"""

import json
from datetime import UTC, datetime
from typing import Any, NoReturn

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
import jinja2.sandbox

RENDER_ERRORS = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)
"""What a template's own faults raise, and what it raises on purpose."""


class TemplateRefusal(jinja2.TemplateError):
    """Raised inside a template by its own `raise_exception`."""


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}...{% endgeneration %}`, by which training masks are made; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012  # declared so by Jinja's base class

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        """Give the nodes between the tags."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def make_environment() -> jinja2.sandbox.SandboxedEnvironment:
    """Make an environment as `transformers` has it, which is what templates are written for."""
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols", GenerationTag]
    )
    environment.filters["tojson"] = _tojson
    environment.filters["from_json"] = environment.filters["fromjson"] = json.loads
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _tojson(value: Any, indent: int | None = None, **_options: Any) -> str:
    """Serialise without HTML escapes, which Jinja's own filter would add."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateRefusal(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now(UTC).strftime(pattern)
