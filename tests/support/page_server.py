"""The application with the page, an engine by a script, and sound like speech, for tests in a browser."""

import asyncio
import contextlib
import dataclasses
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from fake_engine import FakeEngine, Word
from served import running

from fac_jax.serving.app import App, make_app
from fac_jax.serving.config import ServerConfig
from fac_jax.serving.detect.make import detector_factory
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.server import Server
from fac_jax.serving.talk import TalkRequest

HEARD = "what is seven plus zero"
REPLY = "Seven plus zero is seven, because adding zero leaves a number as it is."
QUESTIONS = ("What is seven plus zero?", "Which city is further north?")


def voice(seconds: float, rate: int, pitch: float = 130.0) -> np.ndarray:
    """Sound with the shape of speech, float32: harmonics of a moving pitch, in syllables of 250 ms."""
    t = np.arange(int(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.12 * np.sin(2 * np.pi * 0.9 * t))) / rate
    harmonics = np.arange(1, 24)[:, None]
    colour = np.exp(-(((harmonics * pitch - 700 - 500 * np.sin(2 * np.pi * 1.7 * t)) / 600) ** 2))
    return (0.2 * np.sin(np.pi * (4 * t % 1)) ** 0.6 * (colour * np.sin(harmonics * phase)).sum(0)).astype(np.float32)


def speak(request: TalkRequest, number: int) -> list[Word]:
    """The engine's script: a spoken reply of 4.6 s, whose text ends before its speech, or what the user said."""
    if not request.spoken:
        return [Word(piece, 0, 0.0) for piece in HEARD.partition(" plus")]
    pieces = [word if not i else f" {word}" for i, word in enumerate(REPLY.split())]
    lead = [Word(piece, 0, 0.0) for piece in pieces[:2]]  # text is two steps ahead of speech
    return [*lead, *map(Word, pieces[2:]), *[Word("")] * 11]


def page_app(engine: FakeEngine | None = None, **config: Any) -> App:
    """An application with the page. Loud audio is speech to it."""
    server = Server(engine or FakeEngine(speak), ServerConfig(**config), detector_factory("energy"), Metrics())
    file = io.BytesIO()
    soundfile.write(file, voice(1.2, 16_000), 16_000, format="WAV")
    return make_app(server, questions=[(text, file.getvalue()) for text in QUESTIONS])


@dataclasses.dataclass(frozen=True)
class Site:
    """A page that is served: its address, and the engine behind it."""

    url: str
    engine: FakeEngine
    app: App
    loop: asyncio.AbstractEventLoop

    def close_talks(self) -> None:
        """Ends all talks as a server that restarts does."""
        asyncio.run_coroutine_threadsafe(self.app.sockets.close(), self.loop).result(10)


@contextlib.contextmanager
def site(engine: FakeEngine | None = None, **config: Any) -> Iterator[Site]:
    """Serves the page on a free port of this machine."""
    engine = engine or FakeEngine(speak)
    app = page_app(engine, **config)
    with running(app) as server:
        yield Site(f"http://localhost:{server.port}/", engine, app, server.servers[0].get_loop())
