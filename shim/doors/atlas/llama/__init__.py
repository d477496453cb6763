"""The llama-server door on port 8080: what clients of llama.cpp's server connect to, OpenAI's clients among them."""

from shim.dialects.llama_errors import LlamaError, render_error
from shim.doors.atlas.llama.routes import ENDPOINTS
from shim.doors.door import Door

DOOR = Door(
    name="atlas-llama",
    title="llama-server",
    description="llama.cpp's server API: completions raw and OpenAI-compatible, embeddings, tokens, slots.",
    port=8080,
    endpoints=ENDPOINTS,
    render_error=render_error,
    error=LlamaError,
)
