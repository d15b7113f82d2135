"""Routes of the page: a fixed table of files, made once, so that no path of a request is ever looked up."""

import hashlib
from collections.abc import Sequence
from importlib import resources
from typing import Final, TypeAlias

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HEADERS: Final = {
    "content-security-policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "permissions-policy": "microphone=(self)",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",  # kept, but asked for again: a new version of the package is seen at once
}

Question: TypeAlias = tuple[str, bytes]
"""A spoken question: its text, and the bytes of a sound file that browsers can read."""


def page_routes(questions: Sequence[Question] = ()) -> list[Route]:
    """Returns the routes of the page: `/`, `/page/NAME` for each of its files, and `/questions.json` with its sounds.

    Args:
      questions: that visitors without a microphone may ask.
    """
    folder = resources.files("fac_jax.serving.page")
    files = {file.name: file.read_bytes() for file in folder.iterdir() if _suffix(file.name) in TYPES}
    routes = [_route("/", files.pop("index.html"), TYPES[".html"])]
    routes += [_route(f"/page/{name}", content, TYPES[_suffix(name)]) for name, content in sorted(files.items())]
    table = [{"text": text, "url": f"questions/{number}"} for number, (text, _) in enumerate(questions)]
    routes.append(_route("/questions.json", bytes(JSONResponse({"questions": table}).body), "application/json"))
    return routes + [_route(f"/questions/{number}", file, "audio/wav") for number, (_, file) in enumerate(questions)]


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]


def _route(path: str, content: bytes, media_type: str) -> Route:
    headers = HEADERS | {"etag": f'"{hashlib.sha256(content).hexdigest()[:20]}"'}

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, media_type=media_type, headers=headers)

    return Route(path, answer)
