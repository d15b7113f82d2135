"""The launcher, from a cold start: the shipped model answers the unmodified SDK, also after `kill -9`."""

import base64
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
from openai import OpenAI

import fac_jax
from fac_jax.audio.io import RATE, load
from fac_jax.demo import MODEL
from fac_jax.serving.run import check_port
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
QUESTIONS = tuple(sorted((MODEL / "sounds").glob("*-asked.flac")))[:2]
CLIENT_RATE = 24_000


class Started:
    """A server in a process of its own."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-m", "experiments.serve", f"--checkpoint={MODEL}", "--name=demo", "--port=0"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_COMPILATION_CACHE_DIR": str(folder / "cache")}
        begun = time.monotonic()
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = next(line for line in self.process.stdout if line.startswith("Talk to it"))
        self.seconds = time.monotonic() - begun
        found = re.search(r"http://127.0.0.1:(\d+)/", line)
        assert found is not None
        self.url = found[0]

    def client(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}v1", api_key="none")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture
def server(folder: Path) -> Iterator[Started]:
    started = Started(folder)
    yield started
    started.process.kill()
    started.process.wait()


def said(client: OpenAI, wave: np.ndarray) -> tuple[str, int]:
    """Asks a question by hand; returns the transcript of the reply and the bytes of its speech."""
    pcm = (np.clip(soxr.resample(wave, RATE, CLIENT_RATE), -1, 1) * 32767).astype("<i2").tobytes()
    text, size = "", 0
    with client.realtime.connect(model="demo") as talk:
        talk.session.update(session={"type": "realtime", "audio": {"input": {"turn_detection": None}}})
        talk.input_audio_buffer.append(audio=base64.b64encode(pcm).decode())
        talk.input_audio_buffer.commit()
        talk.response.create()
        for event in talk:
            assert event.type != "error", event
            if event.type == "response.output_audio.delta":
                size += len(base64.b64decode(event.delta))
            elif event.type == "response.output_audio_transcript.done":
                text = event.transcript
            elif event.type == "response.done":
                return text, size
    raise AssertionError("the talk ended without a reply")


@pytest.mark.slow
def test_stock_clients_get_what_the_model_answers_also_after_a_kill(server: Started, folder: Path) -> None:
    model, waves = fac_jax.load(MODEL), [load(file) for file in QUESTIONS]
    right = [model.respond(wave).text for wave in waves]
    for wave, text in zip(waves, right, strict=True):
        answered, size = said(server.client(), wave)
        assert answered == text and size > 2 * CLIENT_RATE // 2  # bytes; more than half a second
    asked = [{"role": "user", "content": "what is two plus three"}]
    answer = server.client().chat.completions.create(model="demo", messages=asked, modalities=["text"])
    assert answer.choices[0].message.content == model.respond("what is two plus three", mode="t2t").text
    with urllib.request.urlopen(server.url) as page:
        assert page.status == 200 and b"<html" in page.read()
    server.process.kill()
    server.process.wait()
    again = Started(folder)
    try:
        assert again.seconds < server.seconds
        assert said(again.client(), waves[0])[0] == right[0]
    finally:
        again.process.kill()
        again.process.wait()


def test_a_port_that_is_taken_is_refused_before_the_model_is_read() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {port}: .*choose another --port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", 0)
