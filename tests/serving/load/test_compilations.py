"""A thousand random requests over HTTP and WebSockets, after which no program has been compiled: minutes."""

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, cast

import httpx
import numpy as np
import pytest
from served import app_of, audio_part, file_of, running
from talking import SETTINGS, TEXTS, talker
from websockets.asyncio.client import ClientConnection, connect

from fac_jax.models.config import ModelConfig
from fac_jax.serving.engine import TalkEngine, make_engine
from fac_jax.text.tokenizer import Tokenizer

NAME = "tiny"
REQUESTS = 1000
CLIENTS = 8
TOOL = {"type": "function", "name": "f", "parameters": {}}
FORMATS = ({"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}, {"type": "audio/pcma"})
SILENCE = {"audio/pcmu": b"\xff", "audio/pcma": b"\xd5"}  # of G.711


@pytest.fixture(scope="module")
def engine(model: ModelConfig, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkEngine]:
    made = make_engine(talker(model, tokenizer, tmp_path_factory.mktemp("codec")), NAME, SETTINGS)
    made.warm_up()
    yield made
    made.stop()


def sampling(rng: random.Random) -> dict[str, Any]:
    if rng.random() < 0.5:
        return {}
    picking = {"temperature": rng.uniform(0, 2), "top_p": rng.uniform(0.1, 1)}
    return {**picking, "seed": rng.randrange(1 << 40), "speech": {**picking, "repetition_penalty": rng.uniform(1, 2)}}


async def complete(url: str, rng: random.Random) -> int:
    """Asks for a chat completion; returns the number of requests, 1."""
    asked: Any = rng.choice(TEXTS)
    if rng.random() < 0.5:
        asked = [{"type": "text", "text": "and"}] * (rng.random() < 0.3)
        asked += [audio_part(file_of(rng.uniform(0.1, 6), rng.choice(("WAV", "FLAC")), rng.choice((8000, 44_100))))]
        asked[-1]["input_audio"]["format"] = "wav" if asked[-1]["input_audio"]["data"].startswith("UklG") else "flac"
    past = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "one"}] * rng.randrange(3)
    body = {"model": NAME, "messages": [*past, {"role": "user", "content": asked}], **sampling(rng)}
    body["max_completion_tokens"] = rng.randrange(1, 40)
    body["stream"] = rng.random() < 0.5
    if rng.random() < 0.5:
        body |= {"modalities": ["text", "audio"], "audio": {"voice": "default", "format": "pcm16"}}
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"http://{url}/v1/chat/completions", json=body)
    assert answer.status_code in (200, 400), answer.text
    assert answer.status_code == 200 or answer.json()["error"]["code"] == "context_length_exceeded", answer.text
    return 1


async def talk(url: str, rng: random.Random) -> int:
    """Talks for a few turns, some of which are cancelled or cut; returns the number of responses."""
    form: dict[str, Any] = rng.choice(FORMATS)
    by_hand, responses = rng.random() < 0.5, 0
    audio = {"input": {"format": form, "turn_detection": None if by_hand else {"type": "server_vad"}}}
    session = {"type": "realtime", "audio": audio, "max_output_tokens": rng.randrange(1, 40)}
    session["output_modalities"] = rng.choice((["text"], ["audio"]))
    session["tools"] = [TOOL] * (rng.random() < 0.3)
    async with connect(f"ws://{url}/v1/realtime?model={NAME}", compression=None) as server:

        async def send(**event: Any) -> None:
            await server.send(json.dumps(event))

        await send(type="session.update", session=session)
        for _ in range(rng.randrange(1, 6)):
            if by_hand and rng.random() < 0.5:
                content = [{"type": "input_text", "text": rng.choice(TEXTS)}]
                await send(
                    type="conversation.item.create", item={"type": "message", "role": "user", "content": content}
                )
            else:
                await speak(send, rng, form, not by_hand)
                if by_hand:
                    await send(type="input_audio_buffer.commit")
            if by_hand:
                aside = {"conversation": "none", "metadata": {"a": "b"}} if rng.random() < 0.2 else {}
                await send(type="response.create", response=aside)
            await heard(server, rng.random() < 0.3)
            responses += 1
    return responses


async def speak(send: Callable[..., Awaitable[None]], rng: random.Random, form: dict[str, Any], pauses: bool) -> None:
    """Sends a tone of some length, and silence after it where that ends a turn."""
    rate = form.get("rate", 8000)
    # Shorter speech over a reply that is heard would be no turn.
    level = np.concatenate([np.full(int(rng.uniform(0.5, 5) * rate), 0.3), np.zeros(int(0.8 * rate) * pauses)])
    wave = level * np.sin(np.arange(len(level)) * rng.uniform(0.02, 0.3))
    if rate == 8000:  # bytes of G.711: any are sound
        data = rng.randbytes(len(wave) - int(0.8 * rate) * pauses) + SILENCE[form["type"]] * (int(0.8 * rate) * pauses)
    else:
        data = (wave * 32767).astype("<i2").tobytes()
    await send(type="input_audio_buffer.append", audio=base64.b64encode(data).decode())


async def heard(server: ClientConnection, cancels: bool) -> None:
    """Hears a response to its end, or cancels it."""
    async with asyncio.timeout(60):
        while True:
            event = json.loads(await server.recv())
            if event["type"] == "response.created" and cancels:
                await server.send('{"type": "response.cancel"}')
            if event["type"] == "error":
                assert event["error"]["code"] == "response_cancel_not_active", event
            if event["type"] == "response.done":
                if event["response"]["status"] == "failed":  # the tools and a long question may be too much
                    code = event["response"]["status_details"]["error"]["code"]
                    assert code == "context_length_exceeded", event
                return


@pytest.mark.slow
def test_nothing_is_compiled(engine: TalkEngine) -> None:
    rng = random.Random(0)

    async def client(url: str) -> int:
        made = 0
        while made < REQUESTS // CLIENTS:
            made += await rng.choice((complete, talk))(url, rng)
        return made

    async def clients(url: str) -> int:
        return sum(await asyncio.gather(*(client(url) for _ in range(CLIENTS))))

    with running(app_of(cast(Any, engine))) as server:
        made = asyncio.run(clients(f"127.0.0.1:{server.port}"))
    assert made >= REQUESTS
    assert not engine.compilations.names
