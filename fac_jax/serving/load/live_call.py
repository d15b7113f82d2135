"""A call over a server in real time, and what its client plays."""

import asyncio
import base64
import json
import time
import urllib.request
from typing import Any, Final

import numpy as np
from jaxtyping import Float32
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from fac_jax.types import InputError

RATE: Final = 16_000  # Hz, of PCM16 in both directions
PIECE: Final = RATE // 25  # samples of an event, 40 ms
PATH: Final = "/v1/live/sessions"
AUDIO: Final = "session.output_audio.delta"


def play(deltas: list[tuple[float, Float32[np.ndarray, " n"]]], seconds: float) -> Float32[np.ndarray, " N"]:
    """Returns what a client plays that plays all audio as soon as it is there, one delta behind the other.

    Args:
      deltas: with the seconds, from the call's begin, at which each came.
      seconds: of the call; later audio is left out.
    """
    wave, free = np.zeros(round(seconds * RATE), np.float32), 0
    for came, samples in deltas:
        first = max(free, round(came * RATE))
        free = first + len(samples)
        there = max(0, min(len(wave), free) - first)
        wave[first : first + there] = samples[:there]
    return wave


def served_model(url: str, key: str | None) -> str:
    """Returns the name of the model of a server, `ws://host:port`.

    Raises:
      InputError: it cannot be reached, or refuses the key.
    """
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    asked = urllib.request.Request(url.rstrip("/").replace("ws", "http", 1) + "/v1/models", headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310
            return json.load(answer)["data"][0]["id"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"--url={url}: no server of ours answers there ({error})") from None


def run_live(url: str, key: str | None, model: str, user: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " N"]:
    """Runs a call in real time; returns what its client plays, as long as the user's channel.

    Args:
      url: of the server, `ws://host:port`.
      key: of the server.
      model: its name there.
      user: at 16 kHz.

    Raises:
      InputError: the server cannot be reached, ends the call, or says that something is wrong.
    """
    try:
        return asyncio.run(_call(url, key, model, user))
    except (OSError, InvalidHandshake, InvalidURI) as error:
        raise InputError(f"--url={url}: no live session begins there ({error})") from None
    except ConnectionClosed as error:
        raise InputError(f"--url={url}: the server has ended the call ({error})") from None


async def _call(url: str, key: str | None, model: str, user: np.ndarray) -> np.ndarray:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    options: dict[str, Any] = {"compression": None, "proxy": None, "max_size": None}
    async with connect(url.rstrip("/") + PATH, additional_headers=headers, **options) as server:
        config = {"model": model, "audio": {"format": {"type": "audio/pcm", "rate": RATE}}}
        await server.send(json.dumps({"type": "session.start", "session": config}))
        _checked(json.loads(await server.recv()))
        begin, deltas = time.perf_counter(), list[tuple[float, np.ndarray]]()
        reader = asyncio.create_task(_read(server, begin, deltas))
        pcm = (np.clip(user, -1, 1) * 32_767).astype("<i2")
        for first in range(0, len(pcm), PIECE):
            piece = pcm[first : first + PIECE]
            await asyncio.sleep(max(0.0, begin + (first + len(piece)) / RATE - time.perf_counter()))
            audio = base64.b64encode(piece.tobytes()).decode()
            await server.send(json.dumps({"type": "session.input_audio.append", "audio": audio}))
            if reader.done():
                break
        reader.cancel()
        (failed,) = await asyncio.gather(reader, return_exceptions=True)
        if isinstance(failed, Exception):
            raise failed
    return play(deltas, len(user) / RATE)


async def _read(server: ClientConnection, begin: float, deltas: list[tuple[float, np.ndarray]]) -> None:
    async for message in server:
        event = json.loads(message)
        if event["type"] == AUDIO:
            samples = np.frombuffer(base64.b64decode(event["delta"]), "<i2").astype(np.float32) / 32_768
            deltas.append((time.perf_counter() - begin, samples))
        else:
            _checked(event)


def _checked(event: dict[str, Any]) -> None:
    if event["type"] == "error":
        raise InputError(f"the server says: {event['error']['message']}")
