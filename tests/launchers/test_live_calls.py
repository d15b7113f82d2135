"""`python -m experiments.score_live`: when an answer is heard at a client of a server."""

import json
from pathlib import Path

import numpy as np
import pytest
from launchers import called
from served import app_of, running
from tiny_calls import write_scenarios

from experiments.calls.detectors import DETECTORS
from experiments.calls.live import LiveAnswer, live_answer
from fac_jax.serving.load.live_call import RATE, play
from fac_jax.types import InputError

TONE = 0.3 * np.sin(2 * np.pi * 300 * np.arange(RATE // 2) / RATE).astype(np.float32)  # 0.5 s


def test_audio_is_played_when_it_is_there_and_in_its_order() -> None:
    block = np.ones(RATE // 10, np.float32)
    played = play([(0.2, block), (0.25, 2 * block), (0.7, 3 * block)], 0.75)
    wanted = [(0.1, 0), (0.25, 1), (0.35, 2), (0.45, 0), (0.72, 3)]  # the second waits for the first to end
    assert len(played) == 0.75 * RATE and [played[round(t * RATE)] for t, _ in wanted] == [v for _, v in wanted]


def test_an_answer_is_the_first_sound_after_the_question() -> None:
    def heard(*starts: float) -> LiveAnswer:
        played = np.zeros(6 * RATE, np.float32)
        for start in starts:
            played[round(start * RATE) :][: len(TONE)] = TONE
        return live_answer(played, DETECTORS["energy"], start=2 * RATE, end=3 * RATE)

    assert heard() == LiveAnswer(False, None)
    assert heard(2.2) == LiveAnswer(True, None)
    for found, early in ((heard(3.5), False), (heard(0.5, 3.5), False), (heard(2.2, 3.5), True)):
        assert found.early == early and found.latency == pytest.approx(0.5, abs=0.03)


def test_no_server_is_one_line(tmp_path: Path) -> None:
    write_scenarios(tmp_path / "calls", 1)
    with pytest.raises(InputError, match="no server of ours answers there"):
        called(
            "experiments.score_live", "--url=ws://127.0.0.1:9", f"--calls={tmp_path / 'calls'}",
            f"--out={tmp_path}",
        )  # fmt: skip


@pytest.mark.slow
def test_a_call_is_played_to_a_server(tmp_path: Path) -> None:
    """In real time, 8 s; the model of the server answers each turn with a tone."""
    write_scenarios(tmp_path / "calls", 1)
    with running(app_of()) as server:
        called(
            "experiments.score_live", f"--url=ws://127.0.0.1:{server.port}", f"--calls={tmp_path / 'calls'}",
            f"--out={tmp_path}",
        )  # fmt: skip
    found = json.loads((tmp_path / "live.json").read_text())
    assert found["calls"] == 1 and 0.3 < found["latency_median"] < 3
