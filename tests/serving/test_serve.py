"""The launcher, from a cold start: the shipped model answers the unmodified SDK, also after `kill -9`."""

import base64
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soxr
from openai import OpenAI
from server_process import ServerProcess

import fac_jax
from experiments.serve import address, named
from fac_jax.audio.io import RATE, load
from fac_jax.demo import MODEL
from fac_jax.serving.config import KEYS_VARIABLE, keys
from fac_jax.serving.run import check_port
from fac_jax.types import InputError

QUESTIONS = tuple(sorted((MODEL / "sounds").glob("*-asked.flac")))[:2]
CLIENT_RATE = 24_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("serve")


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    started = ServerProcess(folder)
    yield started
    started.kill()


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
def test_stock_clients_get_what_the_model_answers_also_after_a_kill(server: ServerProcess, folder: Path) -> None:
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
    server.kill()
    again = ServerProcess(folder)
    try:
        assert again.seconds < server.seconds
        assert said(again.client(), waves[0])[0] == right[0]
    finally:
        again.kill()


def test_a_port_that_is_taken_is_refused_before_the_model_is_read() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {port}: .*choose another --port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000/"),
        ("0.0.0.0", "http://localhost:8000/"),
        ("::", "http://localhost:8000/"),
        ("::1", "http://[::1]:8000/"),
        ("voice.example", "http://voice.example:8000/"),
    ],
)
def test_the_address_that_is_printed_can_be_opened(host: str, shown: str) -> None:
    assert address("http", host, 8000) == shown


@pytest.mark.parametrize(
    ("given", "told"),
    [(["mine"], "'mine' is not NAME=DIR"), (["=x"], "'=x' is not"), (["a=x", "b=y", "a=z"], "'a' is there twice")],
)
def test_adapters_beside_the_base_have_a_name_each(given: list[str], told: str) -> None:
    assert named(["mine=runs/a=b", "other=x"]) == (("mine", "runs/a=b"), ("other", "x"))
    with pytest.raises(InputError, match=told):
        named(given)


def test_keys_come_from_the_environment_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEYS_VARIABLE, " sk-a,sk-b ,,")
    assert keys(None) == ("sk-a", "sk-b")
    (tmp_path / "keys").write_text("sk-c\n\n sk-a \n")
    assert keys(str(tmp_path / "keys")) == ("sk-a", "sk-b", "sk-c")
    (tmp_path / "empty").write_text(" \n")
    for name, reason in (("empty", "holds no key"), ("nothing", "No such file")):
        with pytest.raises(InputError, match=reason):
            keys(str(tmp_path / name))
    monkeypatch.delenv(KEYS_VARIABLE)
    assert keys(None) == ()
