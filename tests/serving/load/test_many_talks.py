"""Many talks with the model that ships, in a server of its own: minutes."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server_process import ServerProcess

from fac_jax.audio.io import RATE, load, resampled
from fac_jax.demo import MODEL
from fac_jax.serving.load.client import RATE as CLIENT_RATE
from fac_jax.serving.load.client import Load
from fac_jax.serving.load.figures import LoadReport, Turn
from fac_jax.serving.load.run import run_load

QUESTION = next(iter(sorted((MODEL / "sounds").glob("*-asked.flac"))))
LOST = {"closed_1006", "ConnectionRefusedError", "ConnectionResetError"}
READY_S = 20.0  # of a server whose programs are compiled


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    started = ServerProcess(folder)
    yield started
    started.kill()


def talked(url: str, sessions: int, seconds: float, **options: Any) -> tuple[LoadReport, list[Turn]]:
    wave = resampled(load(QUESTION), RATE, CLIENT_RATE)
    return run_load(Load(f"{url}?events=fac", wave, sessions, seconds, **options))


Heard = tuple[int | None, ...]


def replies(turns: list[Turn]) -> dict[Heard, list[list[tuple[int, ...]]]]:
    """The ids of all whole replies, by how much audio of each turn so far was heard.

    The question is always the same. Where the silence before it is longer or shorter, the detector may find that it
    begins a frame later, and the model hears another wave.
    """
    heard: dict[int, Heard] = {}
    found: dict[Heard, list[list[tuple[int, ...]]]] = {}
    for turn in turns:
        heard[turn.session] = (*heard.get(turn.session, ())[: turn.number], turn.heard_ms)
        if turn.outcome == "completed":
            found.setdefault(heard[turn.session], []).append(turn.ids)
    return found


@pytest.mark.slow
def test_replies_among_fifty_talks_are_those_alone_and_nothing_grows(server: ServerProcess) -> None:
    alone: dict[Heard, list[tuple[int, ...]]] = {}
    for seed in range(3):  # of the pauses, on which it depends what is heard
        for heard, (ids,) in replies(talked(server.url, 1, 20, seed=seed)[1]).items():
            assert alone.setdefault(heard, ids) == ids
    report, turns = talked(server.url, 50, 180, cancelling=0.1, vanishing=0.1, watch_s=3)
    assert report.errors == {}
    assert {"completed", "cancelled", "vanished"} == set(report.turns)
    assert report.resumed >= report.turns["vanished"] - 5, "of the five that vanish, each may be over after its last"
    together = replies([turn for turn in turns if turn.session >= 10])  # the others cancel or vanish
    for number in (1, 2, 3):
        assert sum(len(ids) for heard, ids in together.items() if heard in alone and len(heard) == number) >= 10
    for heard in set(alone) & set(together):
        assert all(ids == alone[heard] for ids in together[heard]), heard
    held = report.resources
    for name in ("process_open_fds", "fac_threads", "fac_tasks", "fac_sessions"):
        assert held[name].late <= held[name].early + 5, name
    # What sessions leave behind, and what is remembered of waves, still grows towards its limits in these minutes.
    memory = {at: getattr(held["process_resident_memory_bytes"], at) for at in ("early", "late")}
    assert memory["late"] <= 1.25 * memory["early"]
    for name in ("fac_sessions", "fac_slots_used", "fac_queue_depth", "fac_kv_bytes_used"):
        assert held[name].after == 0, name


@pytest.mark.slow
def test_clients_resume_after_a_kill_and_no_file_is_half_written(folder: Path) -> None:
    shared = folder / "shared"
    ServerProcess(folder).kill()  # everything is compiled now
    first = ServerProcess(folder, 0, f"--shared_dir={shared}")
    found: list[tuple[LoadReport, list[Turn]]] = []
    load_thread = threading.Thread(target=lambda: found.append(talked(first.url, 20, 60)))
    load_thread.start()
    time.sleep(15)
    first.kill()
    for file in shared.rglob("*.json"):
        json.loads(file.read_text("utf-8"))
    for file in shared.rglob("*.f32"):
        assert np.isfinite(np.fromfile(file, "<f4")).all()
    second = ServerProcess(folder, first.port, f"--shared_dir={shared}")
    killed_at = time.perf_counter()
    load_thread.join()
    second.kill()
    ((report, turns),) = found
    assert second.seconds <= READY_S
    assert set(report.errors) <= LOST
    assert report.resumed >= 15, "of 20; a session of less than a second is in no file"
    after = {turn.session for turn in turns if turn.outcome == "completed" and (turn.spoken or 0) > killed_at}
    assert after == set(range(20))
