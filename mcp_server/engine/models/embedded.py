"""What a person is told where the embedded model answers: the only place that has the words.

What the model can do stands in its own file, as `general.description`; so the words stay true when it is trained anew.
Knows nothing of which model is the default; `catalog` asks when it is this one for want of another.
"""

from functools import lru_cache
from pathlib import Path

from mcp_server.engine.models.gguf_file import read_header
from mcp_server.engine.types import Model
from mcp_server.errors import ModelLoadError

PULL = "cinque models pull OWNER/NAME FILE.gguf"
"""How a larger model is had."""


def describe(model: Model) -> str:
    """Say what the embedded model is and can do, as part of a line."""
    said = _description(model.path, model.size_bytes, model.created_at)
    return f"{model.model_id}, the embedded demonstration and test model{f' ({said})' if said else ''}"


def notice(model: Model) -> str:
    """Say in one line that the embedded model answers, what it can do, and how to get a larger one."""
    return f"No other model was pulled or chosen, so this one answers: {describe(model)}. For a larger one: {PULL}"


@lru_cache(maxsize=1)
def _description(path: str, _size_bytes: int, _created_at: int) -> str:
    """Read what the file says of itself, on one line; "" where it says nothing."""
    try:
        said = str(read_header(Path(path)).metadata.get("general.description", ""))
    except ModelLoadError:  # told by whoever loads the model
        return ""
    return " ".join(said.split()).rstrip(".")
