"""The ATLAS proxy on port 8090: what OpenAI-compatible chat clients connect to.

A path that it does not have is answered by the llama-server door.
"""

from shim.dialects.openai_errors import ErrorEnvelope, render_error
from shim.doors.atlas.proxy.routes import ENDPOINTS
from shim.doors.door import Door

DOOR = Door(
    name="atlas-proxy",
    title="ATLAS proxy",
    description="OpenAI-compatible chat with one local model.",
    port=8090,
    endpoints=ENDPOINTS,
    render_error=render_error,
    error=ErrorEnvelope,
    fallback="atlas-llama",
)
