"""Messages to the text a model was trained on, through the Jinja template in its own file.

Templates are programs from a download, so they run in Jinja's sandbox with the few helpers that published templates
use. A model without a template gets ChatML. Tokenizing is the vocabulary's business.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import jinja2
import jinja2.sandbox

from mcp_server.engine.types import Message
from mcp_server.errors import InvalidRequestError, ModelLoadError

CHATML = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class TemplateRefusal(jinja2.TemplateError):
    """Raised inside a template by its own `raise_exception`."""


class ChatTemplate:
    """One model's chat format, compiled once."""

    def __init__(self, source: str | None, *, bos_token: str = "", eos_token: str = "") -> None:
        """Compile `source`, or ChatML when there is none.

        Raises:
            ModelLoadError: The template is not valid Jinja.
        """
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise_exception
        environment.globals["strftime_now"] = _strftime_now
        self._tokens = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = environment.from_string(source or CHATML)
        except jinja2.TemplateError as error:
            msg = f"The model's chat template is not valid ({error}); use another build of the model."
            raise ModelLoadError(msg) from error

    def render(self, messages: Sequence[Message]) -> str:
        """Render a conversation up to where the assistant's next words begin.

        Raises:
            InvalidRequestError: The template refuses these messages, for example an order of roles it was not made for.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return self._template.render(messages=turns, add_generation_prompt=True, tools=None, **self._tokens)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            msg = f"The model's chat template refused these messages: {error}. Send roles in an order it knows."
            raise InvalidRequestError(msg, param="messages") from error


def _tojson(value: Any, indent: int | None = None, **_options: Any) -> str:
    """Serialise without HTML escapes, which Jinja's own filter would add."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateRefusal(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now(UTC).strftime(pattern)
