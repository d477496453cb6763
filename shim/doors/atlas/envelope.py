"""The error envelope of ATLAS' own services (sandbox, lens): `{"detail", "code", "param"}`.

The originals are FastAPI services whose clients read `detail`; `code` and `param` are added for programs.
"""

from typing import Any

from pydantic import BaseModel

from shim.errors import ApiError


class AtlasError(BaseModel):
    """Every error of the sandbox and the lens."""

    detail: str
    code: str
    param: str | None


def render_error(error: ApiError) -> dict[str, Any]:
    """Render *error* for a client that reads `detail`."""
    return AtlasError(detail=error.message, code=error.code, param=error.param).model_dump()
