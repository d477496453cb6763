"""The ATLAS lens on port 8099: scores code, and indexes projects."""

from shim.doors.atlas.envelope import AtlasError, render_error
from shim.doors.atlas.lens.routes import ENDPOINTS
from shim.doors.door import Door

DOOR = Door(
    name="atlas-lens",
    title="ATLAS Geometric Lens",
    description="Scores code by its energy, and indexes projects for retrieval.",
    port=8099,
    endpoints=ENDPOINTS,
    render_error=render_error,
    error=AtlasError,
)
