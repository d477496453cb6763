"""Examples that are not about a program: calls of tools and what came of them, greetings, an honest "I can't do that".

What is said stands in `tools.toml` and `conversation.toml`.
"""

import json
import random
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from training.embedded_model.examples import Example
from training.embedded_model.phrasing import slip
from training.embedded_model.splits import PHRASE_SHARE, Split, share
from training.embedded_model.values import HELPERS

_FOLDER: Final = Path(__file__).parent
_TOOLS: Final[list[dict[str, Any]]] = tomllib.loads((_FOLDER / "tools.toml").read_text(encoding="utf-8"))["tool"]
_TALK: Final[dict[str, Any]] = tomllib.loads((_FOLDER / "conversation.toml").read_text(encoding="utf-8"))
_MAX_OFFERED: Final = 4


def tool_call(r: random.Random) -> Example:
    """Draw a request that one of a few tools answers; the answer is its call."""
    offered = r.sample(_TOOLS, r.randint(1, min(_MAX_OFFERED, len(_TOOLS))))
    wanted = r.choice(offered)
    schemas = [_schema(tool, r.choice(tool["names"])) for tool in offered]
    schema = schemas[offered.index(wanted)]
    template = r.choice(wanted["ask"])
    arguments = {
        name: eval(parameter["draw"], {**HELPERS, "r": r})
        for name, parameter in wanted.get("parameters", {}).items()
        if f"{{{name}}}" in template
    }
    said = re.sub(r"\{(\w+)\}", lambda found: str(arguments[found[1]]), template)
    call = json.dumps({"name": schema["name"], "arguments": arguments}, ensure_ascii=False)
    answer = f"<tool_call>\n{call}\n</tool_call>"
    split: Split = "phrase" if share(f"phrase {template}", PHRASE_SHARE) and len(wanted["ask"]) > 3 else "train"
    return Example("tool", str(wanted["names"][0]), split, said, answer, expected=call, tools=tuple(schemas))


def _schema(tool: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a tool as it is offered: OpenAI's form of a function, without its wrapper."""
    parameters = tool.get("parameters", {})
    properties = {
        key: {part: value for part, value in parameter.items() if part not in ("draw", "optional")}
        for key, parameter in parameters.items()
    }
    required = [key for key, parameter in parameters.items() if not parameter.get("optional")]
    schema = {"type": "object", "properties": properties, "required": required}
    return {"name": name, "description": tool["description"], "parameters": schema}


def unneeded_tools(r: random.Random) -> tuple[dict[str, Any], ...]:
    """Draw tools that are offered beside a request which needs none."""
    return tuple(_schema(tool, r.choice(tool["names"])) for tool in r.sample(_TOOLS, r.randint(1, _MAX_OFFERED)))


def tool_result(r: random.Random) -> Example:
    """Draw what a tool gave back; the answer passes it on."""
    asked, kind = tool_call(r), r.choice(_TALK["results"])
    value = str(eval(r.choice(kind["draw"]), {**HELPERS, "r": r}))
    given = r.choice(kind["given"]).replace("{x}", value).replace("{y}", str(r.randint(10, 99)))
    answer = r.choice(kind["answers"]).replace("{x}", value)
    return replace(
        asked, kind="tool_result", role="tool", prompt=given, answer=answer, expected=value,
        earlier=(asked.prompt, asked.answer),
    )  # fmt: skip


def talk(r: random.Random) -> Example:
    """Draw small talk with its answer."""
    one = r.choice(_TALK["talk"])
    said = r.choice(one["ask"])
    return Example("talk", one["key"], "train", slip(said, r), one["answer"], expected=one["answer"])


def refusal(r: random.Random) -> Example:
    """Draw what so small a model cannot do, with an answer that says so."""
    one = r.choice(_TALK["refusals"])
    template, word = r.choice(one["ask"]), r.choice(one["words"])
    split: Split = "phrase" if share(f"phrase {template} {word}", PHRASE_SHARE) else "train"
    answer = r.choice(_TALK["refusal"]["answers"])
    return Example("refusal", one["key"], split, slip(template.replace("<X>", word), r), answer, expected="can't")
