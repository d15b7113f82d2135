"""Live sessions with a full-duplex model: a tiny one with random weights that opens a turn whenever it may."""

import base64
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
from fake_engine import FakeEngine
from live_talk import live_talk, set_pace, talk_of
from served import until
from starlette.testclient import TestClient
from toy_calls import CONFIG, toy

from fac_jax.codec.base import Spoken
from fac_jax.generation.duplex.admission import Admission
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.record import Step
from fac_jax.generation.duplex.state import Mode
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.serving.app import App, make_app
from fac_jax.serving.config import ServerConfig
from fac_jax.serving.detect.make import detector_factory
from fac_jax.serving.live.call_pool import CallPool, PoolConfig
from fac_jax.serving.live.full_duplex import FullDuplex
from fac_jax.serving.live.pool_call import Sounded, Stepped, Told
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.server import Server
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import Params

UNITS = 16


class Hum:
    """A codec whose units are tones of 40 ms, without delay, and which is its own pool."""

    heard_rate = rate = 16_000
    units = UNITS

    def __init__(self) -> None:
        self._waiting: dict[int, list[int]] = {}
        self._ended: set[int] = set()

    def pool(self, places: int) -> "Hum":
        return Hum()

    def start(self) -> int:
        place = max(self._waiting, default=0) + 1
        self._waiting[place] = []
        return place

    def push(self, place: int, ids: np.ndarray) -> None:
        self._waiting[place] += ids.tolist()

    def end(self, place: int) -> None:
        self._ended.add(place)

    def stop(self, place: int) -> None:
        del self._waiting[place]

    def speak(self) -> list[Spoken]:
        found = []
        for place, ids in [*self._waiting.items()]:
            time, last = np.arange(640) / self.rate, place in self._ended
            waves = [0.3 * np.sin(2 * np.pi * (200 + 50 * one) * time) for one in ids]
            self._waiting[place] = []
            if waves or last:
                wave = np.concatenate([*waves, np.zeros(0)]).astype(np.float32)
                found.append(Spoken(place, functools.partial(np.asarray, wave), last))
            if last:
                self._ended.discard(place)
                self.stop(place)
        return found


class Model(NamedTuple):
    """The part of `fac_jax.api.Model` that a call pool reads."""

    config: ModelConfig
    module: FunAudioChat
    params: Params
    tokenizer: Tokenizer
    codec: Hum


class Served(NamedTuple):
    app: App
    pool: CallPool


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Model:
    assert CONFIG.duplex is not None
    duplex = dataclasses.replace(CONFIG.duplex, sinks=40, window=16, head_window=8, start_bias=50.0, stop_bias=-50.0)
    special = tokenizer.special_ids(UNITS)
    made = toy(replace(CONFIG, vocab_size=tokenizer.vocab_size, special=special, duplex=duplex), talkative=True)
    return Model(made.config, made.model, made.params, tokenizer, Hum())


@pytest.fixture
def served(model: Model, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    set_pace(monkeypatch)
    metrics = Metrics()
    pool = CallPool(model, PoolConfig(places=2), metrics)  # pyright: ignore[reportArgumentType]
    pool.warm_up()
    server = Server(FakeEngine(), ServerConfig(), detector_factory("energy"), metrics, calls=pool)
    yield Served(make_app(server, page=False), pool)
    pool.stop()


def test_the_model_speaks_while_it_listens(served: Served) -> None:
    """One delta comes for every slot that is sent, and the model is heard without a pause of the user."""
    with live_talk(served.app, 16_000, "?events=fac") as talk:
        said = [talk.slot(loud=True) for _ in range(12)]
        assert sum(event["type"] == "session.output_audio.delta" for event in talk.events) == 12
        assert np.std(np.concatenate(said)) > 0.02
        steps = [event for event in talk.events if event["type"] == "fac.step"]
        assert steps and all(len(step["units"]) <= 5 for step in steps)
    until(lambda: not served.pool.calls)
    assert b"fac_step_seconds_count 1" in served.app.server.metrics.text()


def test_the_others_go_on_beside_a_client_that_vanishes(served: Served) -> None:
    with TestClient(served.app) as client, talk_of(client, served.app, 24_000) as talk:
        with talk_of(client, served.app, 16_000) as gone:
            gone.slot(loud=True)
            talk.slot(loud=True)
            until(lambda: len(served.pool.calls) == 2)
        said = [talk.slot(loud=True) for _ in range(6)]
        until(lambda: len(served.pool.calls) == 1)
        assert np.std(np.concatenate(said)) > 0.02 and not talk.errors


def test_a_call_without_a_place_is_told_so_and_hears_silence(served: Served) -> None:
    with TestClient(served.app) as client, talk_of(client, served.app) as one, talk_of(client, served.app) as two:
        one.slot()
        two.slot()
        with talk_of(client, served.app) as three:
            assert three.send_slot().until("error")["error"]["code"] == "server_full"
            assert not three.slot().any()


def test_slow_ticks_admit_nobody(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(served.app) as client, talk_of(client, served.app) as one:
        one.slot()
        monkeypatch.setattr(Admission, "admits", lambda self, seconds, calls: not calls)
        with talk_of(client, served.app) as two:
            assert "too slow" in two.send_slot().until("error")["error"]["message"]


def test_too_long_instructions_are_refused_and_later_ones_are_read(served: Served) -> None:
    with live_talk(served.app, instructions="what is two plus three " * 9) as talk:
        assert talk.send_slot().until("error")["error"]["code"] == "context_length_exceeded"
    with live_talk(served.app) as talk:
        talk.slot()
        talk.send("session.instructions.append", content="two", delegation_id=None)
        assert talk.until("session.instructions.appended")
        for _ in range(4):
            talk.slot()
        (call,) = served.pool.calls
        assert call.live is not None and call.live.system.endswith(" two") and call.live.fresh < call.live.slots


def test_a_fault_ends_the_calls_and_new_ones_begin(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with live_talk(served.app) as talk:
        talk.slot()
        with monkeypatch.context() as patch:
            patch.setattr(Calls, "tick", lambda *_: 1 / 0)
            assert talk.send_slot().until("error")["error"]["code"] == "engine_failed"
    with live_talk(served.app) as talk:
        assert len(talk.slot()) == 4800


class ByHand:
    """A call pool whose call does what the test says."""

    rate = 16_000

    def __init__(self) -> None:
        self.blocks: list[np.ndarray | None] = []
        self.heard: dict[int, int] = {}

    def join(self, *given: Any) -> "ByHand":
        self.deliver: Callable[[Told], None] = given[-1]
        return self

    def push(self, block: np.ndarray | None) -> None:
        self.blocks.append(block)

    def played(self, turn: int, slots: int) -> None:
        self.heard[turn] = slots


def test_a_turn_that_is_cut_fades_and_one_that_ends_is_said_to_its_end() -> None:
    pool, told = ByHand(), []
    server = Server(FakeEngine(), ServerConfig(), detector_factory("energy"), Metrics())
    session = FullDuplex(server, pool, 16_000, [], None, told.append, False)  # pyright: ignore[reportArgumentType]
    assert session.slot(np.zeros(3200, np.float32), late=False) is None and len(pool.blocks) == 1
    one = np.ones(3200, np.float32)

    def slot(number: int, mode: Mode, wave: np.ndarray | None = None, last: bool = False, cut: bool = False) -> Any:
        if wave is not None:
            pool.deliver(Sounded(number // 10, wave, last))
        pool.deliver(Stepped(Step(number, 9, np.zeros(5), mode, 0.5, cut), " w", np.arange(5)))
        sound = [event["delta"] for event in told if event["type"] == "session.output_audio.delta"][-1]
        return np.frombuffer(base64.b64decode(sound), "<i2") / 32_768

    quiet = slot(1, Mode.IDLE)
    assert not quiet.any() and len(quiet) == 3200
    assert not slot(2, Mode.OPENING).any()
    begins = slot(3, Mode.TALKING, one[:2700])  # the codec keeps a little back
    assert not begins[:500].any() and begins[500:].min() > 0.99
    assert slot(4, Mode.TALKING, one).min() > 0.99
    faded = slot(5, Mode.CLOSING, one, cut=True)
    assert faded[0] > 0.99 and 0.4 < faded[240] < 0.6 and not faded[480:].any()
    assert pool.heard == {0: 3}
    assert not slot(6, Mode.IDLE, one, last=True).any()

    assert not slot(11, Mode.OPENING).any()
    assert slot(12, Mode.TALKING, np.concatenate([one, one])).min() > 0.99
    assert slot(13, Mode.CLOSING, one[:1600], last=True).min() > 0.99  # what the codec was behind
    ended = slot(14, Mode.IDLE)
    assert ended[:1600].min() > 0.99 and not ended[1600:].any()
    said = "".join(event["delta"] for event in told if event["type"] == "session.output_transcript.delta")
    assert said.count("w") == 4 and pool.heard == {0: 3}  # of each turn, two slots
