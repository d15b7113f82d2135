"""The web application of a server with an engine for tests (`fake_engine`), on a port where that is needed."""

import asyncio
import base64
import contextlib
import io
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile
from fake_engine import FakeEngine, tone
from hypothesis import settings

from fac_jax.serving.app import App, make_app
from fac_jax.serving.config import Limits, ServerConfig
from fac_jax.serving.detect.make import detector_factory
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.run import Serving, uvicorn_config
from fac_jax.serving.server import Server

KEY = "sk-test-of-a-server"
STEADY = settings(derandomize=True, database=None, deadline=None)  # the same examples in every run


def app_of(
    engine: FakeEngine | None = None,
    limits: Limits | None = None,
    shared_dir: Path | None = None,
    record_dir: Path | None = None,
    **config: Any,
) -> App:
    """An application without the page. Loud audio is speech to it."""
    chosen = ServerConfig(limits=limits or Limits(), **config)
    server = Server(engine or FakeEngine(), chosen, detector_factory("energy"), Metrics(), shared_dir, record_dir)
    return make_app(server, page=False)


@contextlib.asynccontextmanager
async def client_of(app: App, key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of HTTP that needs no port."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
        yield client


class Started(Serving):
    """A server that says when it listens."""

    def __init__(self, app: App, **changed: Any) -> None:
        config = uvicorn_config(app, port=0)
        for name, value in changed.items():
            setattr(config, name, value)
        super().__init__(config, self._told)
        self.listens = threading.Event()
        self.port = 0

    def _told(self, port: int) -> None:
        self.port = port
        self.listens.set()


@contextlib.contextmanager
def running(app: App, **changed: Any) -> Iterator[Started]:
    """A server on a free port, in a thread; `changed` are settings of uvicorn."""
    server = Started(app, **changed)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    assert server.listens.wait(20)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


def until(holds: Callable[[], Any], seconds: float = 10.0) -> None:
    """Waits for what another thread does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.002)


def file_of(seconds: float = 1.0, form: str = "WAV", rate: int = 16_000, channels: int = 1) -> bytes:
    """A file with a tone."""
    file = io.BytesIO()
    wave = tone(seconds, rate, loudness=0.3)
    soundfile.write(file, np.stack([wave] * channels, axis=1), rate, format=form)
    return file.getvalue()


def base64_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def audio_part(data: bytes | None = None, form: str = "wav") -> dict[str, Any]:
    """A part of a user's message."""
    return {"type": "input_audio", "input_audio": {"data": base64_of(data or file_of()), "format": form}}
