"""Serves a door's OpenAPI document and its interactive page, without a request to any other machine.

The page is Swagger UI. Its files come from the installed package `flask-swagger-ui`, read as files only: the package
itself, and Flask, are never imported.
"""

import html
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from shim.doors.door import Door
from shim.openapi import openapi_document

PACKAGE = "flask_swagger_ui"
FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
START_SCRIPT = 'SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, tryItOutEnabled: true})'
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
)

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""


def documentation_routes(door: Door) -> list[Route]:
    """Return the routes of `/openapi.json` and `/docs`."""

    async def openapi(_: Request) -> Response:
        return JSONResponse(openapi_document(door))

    async def page(_: Request) -> Response:
        text = PAGE.format(title=html.escape(door.title))
        return HTMLResponse(text, headers={"content-security-policy": POLICY})

    async def start(_: Request) -> Response:
        return Response(START_SCRIPT, media_type="text/javascript")

    return [
        Route("/openapi.json", openapi),
        Route("/docs", page),
        Route("/docs/start.js", start),
        *(Route(f"/docs/{name}", _file) for name in FILES),
    ]


async def _file(request: Request) -> Response:
    return FileResponse(_folder() / Path(request.url.path).name)


@cache
def _folder() -> Path:
    """Return the folder of Swagger UI's files.

    Raises:
        FileNotFoundError: when the package that carries them is not installed.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        msg = f"the package {PACKAGE} is not installed; `make setup` installs it"
        raise FileNotFoundError(msg)
    return Path(spec.submodule_search_locations[0]) / "dist"
