"""The ATLAS sandbox on port 30820: runs code, and tests it."""

from shim.doors.atlas.envelope import AtlasError, render_error
from shim.doors.atlas.sandbox.routes import ENDPOINTS
from shim.doors.door import Door

DOOR = Door(
    name="atlas-sandbox",
    title="ATLAS sandbox",
    description="Isolated execution of code, with tests, syntax check and lint.",
    port=30820,
    endpoints=ENDPOINTS,
    render_error=render_error,
    error=AtlasError,
)
