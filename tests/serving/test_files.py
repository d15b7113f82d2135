"""What the server reads and writes on a disk: nothing that a request names, and nothing of a user unless asked to."""

import ast
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from realtime_talk import Talk, append, manual, run, speech, user
from served import KEY, app_of, audio_part, client_of

import fac_jax

ROOT = Path(fac_jax.__file__).parents[1]
SOURCES = sorted((ROOT / "fac_jax").rglob("*.py"))  # of all that the server imports
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TORCH = ROOT / "fac_jax" / "checkpoint" / "voice" / "torch_file.py"  # reads tensors alone, and refuses all other names
PATHS = [
    "/etc/passwd",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "file:///etc/passwd",
    "a\x00b",
    "C:\\x",
    "~/x",
]

_opened: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _opened is not None and event == "open":
        path, mode, flags = arguments
        if isinstance(path, str | bytes) and (flags & WRITES or "etc" in str(path)):
            _opened.append(str(path))


@pytest.fixture(scope="module")
def audit() -> None:
    sys.addaudithook(_audit)  # it stays for the life of the process, and is deaf but in `watched`


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Paths that are opened for writing meanwhile, or lie where no request may lead."""
    global _opened
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


async def ask_everything(text: str, folder: Path | None = None) -> None:
    """Uploads audio and texts in every way that there is; every text is `text`."""
    app = app_of(FakeEngine(), keys=(KEY,), shared_dir=folder, record_dir=folder)
    parts = [{"type": "text", "text": text}, audio_part()]
    body = {"model": "fac-fake", "messages": [{"role": "user", "content": parts, "name": text}], "user": text}
    async with client_of(app, KEY) as client:
        for answered in (
            await client.post("/v1/chat/completions", json=body),
            await client.post("/v1/chat/completions", json=body | {"modalities": ["audio"], "audio": {"voice": text}}),
            await client.post("/v1/chat/completions", json=body | {"model": text}),
            await client.post("/v1/realtime/client_secrets", json={"session": {"instructions": text, "model": text}}),
        ):
            assert answered.status_code in (200, 400, 404)
        for path in ("/v1/models/", "/", "/page/"):
            assert "root:" not in (await client.get(path + text.replace("\x00", "%00"))).text
    async with Talk(shared=app.server, query="model=fac-fake") as talk:
        item = {"id": text, "type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
        await talk.send({"type": "session.update", "event_id": text, "session": {"instructions": text}})
        await talk.send(manual(), append(speech(0.3)), {"type": "input_audio_buffer.commit"})
        await talk.send({"type": "conversation.item.create", "item": item}, user(text))
        await talk.ask({"type": "response.create", "response": {"metadata": {text: text}}}, "rate_limits.updated")
        await talk.lose()
    async with Talk(shared=app.server, query=f"session_id={text}") as talk:
        await talk.alive()


@pytest.mark.parametrize("text", PATHS)
def test_no_text_of_a_request_is_a_path_and_no_upload_is_written(audit: None, text: str) -> None:
    with watched() as opened:
        run(lambda: ask_everything(text))
    assert not [path for path in opened if path != os.devnull]


def test_what_is_written_where_it_is_asked_for_lies_there(audit: None, tmp_path: Path) -> None:
    with watched() as opened:
        run(lambda: ask_everything("../../etc/passwd", tmp_path))
    assert opened and all(Path(path).resolve().is_relative_to(tmp_path) for path in opened if path != os.devnull)


def calls(tree: ast.AST) -> Iterator[str]:
    """Names of what is called, and of what is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
            yield from (f"{keyword.arg}={ast.unparse(keyword.value)}" for keyword in node.keywords)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_nothing_is_unpickled_or_evaluated() -> None:
    forbidden = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "allow_pickle=True", "eval", "exec"}
    forbidden |= {"yaml.load", "yaml.unsafe_load", "torch.load", "weights_only=False", "shell=True", "os.system"}
    for path in SOURCES:
        text = path.read_text()
        if path != TORCH and any(word in text for word in ("load", "pickle", "eval(", "exec(", "shell", "system(")):
            found = forbidden & set(calls(ast.parse(text)))
            assert not found, f"{path.relative_to(ROOT)}: {', '.join(found)}"
