"""What a server records of talks: both sides on one time axis, and all events."""

import base64
import json
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from fake_engine import FakeEngine, tone
from hypothesis import given
from hypothesis import strategies as st
from live_talk import live_talk, set_pace
from realtime_talk import Talk, append, manual, run, speech, user
from served import STEADY, app_of, client_of

from fac_jax.serving.record import recordings
from fac_jax.serving.record.recording import AHEAD_S, PART, Recording
from fac_jax.serving.record.recordings import Recordings
from fac_jax.serving.record.track import RATE, Track

CREATE = {"type": "response.create"}


def pcm(samples: np.ndarray) -> str:
    return base64.b64encode((samples * 32_767).astype("<i2").tobytes()).decode()


def read(folder: Path) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The samples of a recording, and its lines."""
    wave, rate = soundfile.read(folder / "talk.wav", dtype="float32")
    assert rate == RATE and wave.shape[1] == 2
    return wave, [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def sounds(side: np.ndarray) -> list[tuple[float, float]]:
    """Begin and end of the stretches of a side that are not silent, in seconds."""
    there = np.abs(side).reshape(-1, RATE // 100).max(1) > 0.01
    edges = np.flatnonzero(np.diff(np.concatenate([[False], there, [False]]).astype(int)))
    return [(begin / 100, end / 100) for begin, end in edges.reshape(-1, 2).tolist()]


@STEADY
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.sampled_from(["add", "cut", "take"])), max_size=30)
)
def test_a_track_has_every_sample_at_its_time(moves: list[tuple[int, int, str]]) -> None:
    track, axis, taken = Track(), np.zeros(2000, np.int16), 0
    told: list[np.ndarray] = []
    for number, (at, size, kind) in enumerate(moves, start=1):
        if kind == "add":
            begin = max(at, track.end)
            axis[begin : begin + size] = number
            track.add(np.full(size, number, np.int16), at)
        elif kind == "cut":
            axis[max(at, taken) :] = 0
            track.cut(at)
        else:
            told.append(track.take(at))
            taken = max(at, taken)
    whole = np.concatenate([np.zeros(0, np.int16), *told])
    np.testing.assert_array_equal(whole, axis[: len(whole)])


def test_both_sides_lie_where_they_were_heard(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "talk", 1 << 20, 0)
    heard, said = tone(0.5, RATE, loudness=0.5), tone(1.0, RATE, loudness=0.5)
    recording.add(1.0, "client", {"type": "input_audio_buffer.append", "audio": pcm(heard)})
    recording.add(2.0, "server", {"type": "response.output_audio.delta", "delta": pcm(said)})
    recording.add(2.1, "server", {"type": "response.output_audio.delta", "delta": pcm(said)})  # behind the first
    recording.add(3.5, "server", {"type": "response.done", "response": {"status": "cancelled"}})
    assert (tmp_path / f"talk{PART}").exists(), "it is not finished"
    recording.close(5.0)
    wave, lines = read(tmp_path / "talk")
    assert len(wave) == 5 * RATE
    assert sounds(wave[:, 0]) == [(0.5, 1.0)] and sounds(wave[:, 1]) == [(2.0, 3.5)], "the end of it was not heard"
    assert lines[0] == {
        "t_ms": 1000,
        "dir": "client",
        "event": {"type": "input_audio_buffer.append", "audio": f"<{RATE} bytes>"},
    }


def test_other_formats_are_brought_to_one_rate(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "talk", 1 << 20, 0)
    forms = {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcm", "rate": RATE}}}
    recording.add(0.0, "server", {"type": "session.updated", "session": {"audio": forms}})
    loud = base64.b64encode((b"\x00" * 20 + b"\x80" * 20) * 200).decode()
    recording.add(2.0, "client", {"type": "input_audio_buffer.append", "audio": loud})
    recording.close(2.5)
    wave, _ = read(tmp_path / "talk")
    ((begin, end),) = sounds(wave[:, 0])
    assert end - begin == pytest.approx(1.0, abs=0.15)


def test_what_is_too_much_is_left_out(tmp_path: Path) -> None:
    recording = Recording(tmp_path / "talk", 500, 0)
    event = {"type": "input_audio_buffer.append", "audio": pcm(tone(AHEAD_S / 4, RATE))}
    for second in range(4):
        recording.add(float(second), "client", event)
    assert not recording.full
    for second in range(4, 8):
        recording.add(float(second), "client", event)
        assert recording._tracks["client"].end <= (second + AHEAD_S) * RATE
    assert recording.full, "its events are"
    recording.close(8.0)
    wave, lines = read(tmp_path / "talk")
    assert len(wave) == 8 * RATE and len((tmp_path / "talk" / "events.jsonl").read_text()) <= 500 and lines
    short = Recording(tmp_path / "short", 1 << 20, shutil.disk_usage(tmp_path).total * 2)
    short.add(2.0, "client", {"type": "x"})
    assert short.full, "the disk is"


def test_a_talk_is_recorded(tmp_path: Path) -> None:
    async def test() -> None:
        app = app_of(FakeEngine(), record_dir=tmp_path)
        async with client_of(app) as client:
            assert (await client.get("/v1/models/fac-fake")).json()["recorded"] is True
        async with Talk(shared=app.server) as talk:
            await talk.send("no json", b"bytes", manual(), append(speech(0.5)), {"type": "session.created"}, user("hi"))
            await talk.ask({**CREATE}, "rate_limits.updated")
        app.server.recordings.wait()
        (folder,) = tmp_path.iterdir()
        session = talk.of("session.created")[0]["session"]["id"]
        assert folder.name.endswith(session) and not folder.stat().st_mode & 0o077
        _, lines = read(folder)
        events = [line["event"] for line in lines if line["dir"] == "server"]
        assert [event["type"] for event in events] == talk.types()
        told = [event["delta"] for event in events if event["type"] == "response.output_audio.delta"]
        assert told and all(delta == "<9600 bytes>" for delta in told)
        asked = [line["event"]["type"] for line in lines if line["dir"] == "client"]
        assert asked[:2] == ["not JSON"] * 2 and asked[-1] == "response.create"

    run(test)


def test_a_live_session_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_pace(monkeypatch)
    app = app_of(FakeEngine(), record_dir=tmp_path)
    with live_talk(app, 16_000) as talk:
        talk.slot(loud=True)
        started = talk.events[0]["session"]["id"]
    app.server.recordings.wait()
    (folder,) = tmp_path.iterdir()
    _, lines = read(folder)
    assert folder.name.endswith(started)
    kinds = [(line["dir"], line["event"]["type"]) for line in lines]
    assert kinds[:2] == [("client", "session.start"), ("server", "session.started")]
    assert ("client", "session.input_audio.append") in kinds and ("server", "session.output_audio.delta") in kinds


def test_without_a_folder_nothing_is_recorded(tmp_path: Path) -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(user("hi"))
            assert talk.server.recordings._thread is None

    run(test)


def test_a_disk_that_cannot_be_written_to_ends_no_talk(tmp_path: Path) -> None:
    async def test() -> None:
        app = app_of(FakeEngine(), record_dir=tmp_path / "nothing")
        async with Talk(shared=app.server) as talk:
            await talk.alive()
            app.server.recordings.wait()
            await talk.alive()

    run(test)


def test_a_disk_that_is_too_slow_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "WAITING", 5)
    made = Recordings(tmp_path)
    tap = made.begin("sess_1")
    made.wait()
    slow = threading.Event()
    assert made._do(lambda: slow.wait(10) and None)
    for number in range(20):
        tap.server({"type": "x", "n": number})
    assert tap._over, "its recording ends"
    slow.set()
    made.wait()


@STEADY
@given(st.binary(max_size=40) | st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_audio_of_a_client_breaks_a_recording(tmp_path_factory: pytest.TempPathFactory, audio: bytes | str) -> None:
    folder = tmp_path_factory.mktemp("folder") / "talk"
    recording = Recording(folder, 1 << 20, 0)
    text = base64.b64encode(audio).decode() if isinstance(audio, bytes) else audio
    recording.add(1.0, "client", {"type": "input_audio_buffer.append", "audio": text})
    recording.close(1.5)
    wave, lines = read(folder)
    assert len(wave) == 1.5 * RATE and len(lines) == 1
