"""The routes of the page: a fixed table of files with their headers."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

import fac_jax.serving.page
from fac_jax.serving.page.routes import page_routes

FOLDER = Path(fac_jax.serving.page.__path__[0])
FILES = sorted(p.name for p in FOLDER.iterdir() if p.suffix in (".js", ".css", ".svg"))
SOUND = b"RIFF and so on"


def get(path: str, **headers: str) -> httpx.Response:
    app = Starlette(routes=list(page_routes([("What is it?", SOUND)])))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            return await client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    return asyncio.run(ask())


@pytest.mark.parametrize("name", ["", *FILES])
def test_files_come_with_their_type_and_the_policy(name: str) -> None:
    answer = get(f"/page/{name}" if name else "/")
    assert answer.status_code == 200
    assert answer.content == (FOLDER / (name or "index.html")).read_bytes()
    assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    kind = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml", "": "text/html"}[
        name.rpartition(".")[2]
    ]
    assert answer.headers["content-type"].startswith(kind)


def test_what_the_browser_has_is_not_sent_again() -> None:
    tag = get("/page/app.js").headers["etag"]
    assert get("/page/app.js", if_none_match=tag).status_code == 304
    assert get("/page/app.js", if_none_match='"another"').status_code == 200


@pytest.mark.parametrize(
    "path", ["/page/", "/page/routes.py", "/page/__init__.py", "/page/..%2froutes.py", "/page/%00", "/questions/1"]
)
def test_nothing_else_is_served(path: str) -> None:
    assert get(path).status_code == 404


def test_questions_are_listed_with_their_sounds() -> None:
    (question,) = get("/questions.json").json()["questions"]
    assert question["text"] == "What is it?"
    sound = get(f"/{question['url']}")
    assert sound.content == SOUND and sound.headers["content-type"] == "audio/wav"


def test_without_questions_the_list_is_empty() -> None:
    assert [route.path for route in page_routes() if route.path.startswith("/questions")] == ["/questions.json"]


@pytest.mark.parametrize("name", ["index.html", *FILES])
def test_files_load_nothing_from_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"""(src|href|from|import|url)\s*[=(]?\s*["'(](https?:)?//""", text)
    if name.endswith(".html"):
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


def test_modules_import_what_is_there() -> None:
    for file in FOLDER.glob("*.js"):
        for imported in re.findall(r'from "\./([^"]+)"|new URL\("([^"]+)"', file.read_text("utf-8")):
            assert (FOLDER / "".join(imported)).exists()
