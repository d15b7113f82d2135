"""`python -m experiments.score_calls`: untrained models in every scenario, recordings, and bad input as one line."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from launchers import called
from tiny_calls import EAGER, write_models, write_scenarios

from fac_jax.audio.io import RATE, save_wav
from fac_jax.evaluation.calls.scenarios import SCORERS
from fac_jax.types import InputError

LAUNCHER = "experiments.score_calls"
CALLS = 2
WORDS = [{"text": "one", "start": 2.5, "end": 2.8}, {"text": "two", "start": 3.0, "end": 3.6}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scenarios, and a recording in which both speak once."""
    folder = tmp_path_factory.mktemp("scored")
    write_scenarios(folder / "calls", CALLS)
    times = np.arange(6 * RATE) / RATE
    tone = 0.1 * np.sin(2 * np.pi * 300 * times)
    user, model = (tone * ((times >= start) & (times < end)) for start, end in ((1.0, 2.0), (2.5, 3.6)))
    save_wav(folder / "both.wav", np.stack([user, model], axis=1))
    save_wav(folder / "user.wav", user)
    save_wav(folder / "model.wav", model)
    save_wav(folder / "short.wav", model[: 5 * RATE])
    return folder


@pytest.mark.slow
def test_every_scenario_is_run_scored_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both models answer; the same command again makes nothing anew, and other calls are refused."""
    write_models(folder)
    out = folder / "out"
    given = [
        f"--checkpoint={folder / 'duplex'}",
        f"--half_duplex={folder / 'half'}",
        f"--calls={folder / 'calls'}",
        f"--out={out}",
        "--start_bias=0,6",
        "--stop_bias=",
        "--places=5",
    ]
    called(LAUNCHER, "scenarios", *given)
    report = json.loads((out / "report.json").read_text())
    assert list(report["scenarios"]) == list(SCORERS)
    for one in report["scenarios"].values():
        assert one["calls"] == CALLS and one["interval"][0] <= one["success"] <= one["interval"][1]
        assert {"latency_median", "latency_p90"} <= one.keys()
    assert report["scenarios"]["clean_turn"]["heard"] is not None and report["scenarios"]["stop"]["heard"] is None
    assert list(report["baselines"]) == ["vad_300", "vad_500", "vad_700", "vad_1000"]
    assert all(list(one["scenarios"]) == list(SCORERS) for one in report["baselines"].values())
    assert report["baselines"]["vad_300"]["scenarios"]["silence"]["success"] == 1
    labels = [one["label"] for one in report["curves"]["start_bias"]["model"]]
    assert labels == ["start_bias 0", "start_bias 2.8", "start_bias 6"]
    page = (out / "report.html").read_text()
    assert page.count("data:audio/flac") >= len(SCORERS) and page.count("<details>") == len(SCORERS)
    assert capsys.readouterr().out.count(f"of {CALLS}") == len(SCORERS)

    made = {file: file.stat().st_mtime_ns for file in (out / "predictions").glob("*.jsonl")}
    assert {file.stem for file in made} == {"own", "start_bias_0", "start_bias_6", "half_duplex"}
    lines = (out / "predictions" / "own.jsonl").read_text().splitlines()
    assert len(lines) == CALLS * len(SCORERS)
    called(LAUNCHER, "scenarios", *given)
    assert made == {file: file.stat().st_mtime_ns for file in made}
    assert json.loads((out / "report.json").read_text()) == report
    shutil.copytree(folder / "calls", folder / "others")
    with (folder / "others" / "pause" / "calls.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match="predictions of calls=.*name another --out"):
        called(LAUNCHER, "scenarios", *given, f"--calls={folder / 'others'}")


@pytest.mark.slow
def test_long_calls_are_as_training_reads_them(tmp_path: Path) -> None:
    """The ring, of 32 slots, is filled more than twice; a model with random weights talks now and then."""
    write_models(tmp_path, dataclasses.replace(EAGER, window=32, stop_bias=-6.0))
    write_scenarios(tmp_path / "calls", 1)
    called(
        LAUNCHER, "long", f"--checkpoint={tmp_path / 'duplex'}", f"--calls={tmp_path / 'calls'}",
        f"--out={tmp_path}", "--minutes=0.25",
    )  # fmt: skip
    found = json.loads((tmp_path / "long.json").read_text())
    assert list(found) == ["silence", "noise", "monologue"]
    assert sum(one["starts"] for one in found.values()) > 0
    for one in found.values():
        assert one["wrapped"] > 2 and one["minutes"] == 0.25 and len(one["parts"]) == 1
        trained = one["trained"]
        assert trained["same_text"] == trained["slots"] > 0 and trained["same_groups"] == trained["talking"]


def recordings(folder: Path, *rows: dict[str, object]) -> dict[str, dict[str, object]]:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    called(LAUNCHER, "recordings", str(folder / "rows.jsonl"), f"--out={folder / 'scores'}")
    return json.loads((folder / "scores" / "report.json").read_text())["tasks"]


def test_recordings_are_scored_by_published_rules(folder: Path) -> None:
    """The model answers half a second after the user, for 1.1 s and in two words."""
    two = {"user": "user.wav", "model": "model.wav"}
    tasks = recordings(
        folder,
        *({"task": task, "audio": "both.wav", "words": WORDS, "end": 2.0} for task in ("pause", "smooth_turn")),
        {"task": "interruption", "audio": two, "words": WORDS, "end": 3.0},
        {"task": "backchannel", "audio": two},
        {"task": "overlap", "audio": two},
        {"task": "question", "audio": "both.wav", "words": WORDS, "end": 2.0},
        {"task": "turns", "audio": "both.wav"},
    )
    assert tasks["pause"]["takeover"]["value"] == 1
    assert tasks["smooth_turn"]["latency"]["median"] == pytest.approx(0.5)
    assert tasks["interruption"]["takeover"]["value"] == 0 and tasks["interruption"]["latency"]["median"] is None
    assert tasks["backchannel"]["takeover"]["count"] == 0  # without a transcript the official rules score nothing
    assert tasks["overlap"]["response_latency"]["median"] == pytest.approx(0.5, abs=0.03)
    assert tasks["question"]["success"]["value"] == 1 and "our definition" in tasks["question"]["rules"]
    assert tasks["turns"]["precision"]["value"] == tasks["turns"]["recall"]["value"] == 1
    assert all(one["recordings"] == 1 for one in tasks.values())


def test_all_faults_of_recordings_are_named(folder: Path) -> None:
    rows = [
        {"id": "a", "task": "dance", "audio": "both.wav"},
        {"id": "b", "task": "smooth_turn", "audio": "both.wav"},
        {"id": "c", "task": "turns", "audio": {"user": "user.wav", "model": "short.wav"}},
        {"id": "d", "task": "pause", "audio": "both.wav", "words": [{"text": "one", "start": 3, "end": 2}]},
        {"id": "e", "task": "smooth_turn", "audio": "both.wav", "words": WORDS, "end": 7},
        {"id": "f", "task": "turns", "audio": "user.wav"},
        {"id": "g", "task": "turns", "audio": "nothing.wav"},
    ]
    with pytest.raises(InputError) as error:
        recordings(folder, *rows)
    faults = str(error.value).split("rows.jsonl, ")[1:]
    wanted = [
        "line 1: wrong_type: a: unknown task 'dance'",
        "line 2: missing_key: b: the task smooth_turn needs words and end",
        "line 3: call: c: both waves have one clock and one length: 6.00 s of the user, 5.00 s of the model",
        "line 4: wrong_type: the word 'one' needs a start and an end after it",
        "line 5: call: e: end is 7 s, the recording has 6.00 s",
        "line 6: ",
        "line 7: audio file not found",
    ]
    assert all(fault.startswith(part) for part, fault in zip(wanted, faults, strict=True)), faults


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (["--calls=nothing"], "nothing: no calls.jsonl"),
        (["--scenarios=pause,dance"], "there is no scenario dance"),
        (["--start_bias=much"], "--start_bias=much: give numbers"),
        (["--checkpoint=nothing"], "nothing"),
    ],
)
def test_bad_input_is_named_before_anything_runs(folder: Path, changed: list[str], line: str) -> None:
    given = ["--checkpoint=nothing", f"--calls={folder / 'calls'}", f"--out={folder / 'never'}", *changed]
    with pytest.raises(InputError, match=line):
        called(LAUNCHER, "scenarios", *given)
    assert not (folder / "never").exists()


def test_a_call_without_its_event_is_named(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "calls" / "clean_turn", tmp_path / "stop")
    given = ["--checkpoint=nothing", f"--calls={tmp_path}", f"--out={tmp_path / 'out'}", "--scenarios=stop"]
    with pytest.raises(InputError, match=r"line 1: call clean_turn-0 has not the events and turns of scenario stop"):
        called(LAUNCHER, "scenarios", *given)
