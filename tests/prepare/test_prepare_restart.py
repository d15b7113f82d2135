"""Restarts of a preparation: it resumes where it stopped and gives the same bytes in any number of processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from launchers import called, launched
from toy_world import UNITS
from user_rows import PLACEHOLDER, heard, release_row, save, spoken, write_jsonl

from data_pipelines.prepare import local
from data_pipelines.prepare.card import summary
from data_pipelines.prepare.local import prepare
from data_pipelines.prepare.reading import read_prepared
from data_pipelines.prepare.settings import Settings, Source, WordFilter, splits
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
SHARD = "prepared_rows-train.array_record-{:05d}-of-{:05d}"
SLOW = WordFilter("recognisers:slow", 0.1)
SETTINGS = Settings(units=UNITS, rows_per_shard=2, words=SLOW)


def row(name: str, *units: int, file: str = "a.wav", **more: Any) -> dict[str, Any]:
    audio = [heard(file, 1.0), spoken("hello", units or [1])]
    return {"id": name, **release_row(PLACEHOLDER, PLACEHOLDER, audio=audio), **more}


def data(folder: Path, rows: list[Any]) -> list[Source]:
    save(folder / "a.wav", 1.0)
    return [Source(str(write_jsonl(folder / "rows.jsonl", rows)), "release")]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def shards(folder: Path) -> dict[str, int]:
    """Shards by name, with what changes when one is made again."""
    return {p.name: p.stat().st_ino for p in folder.glob("prepared_rows-*")}


BAD = [
    row("twice", 99),
    row("a"),
    b"{",
    row("twice", 2),
    row("lost", file="gone.wav"),
    row("a", 3),
    row("twice", 3),
    row("b"),
]


def test_killed_run_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    given = data(tmp_path, [*BAD, *(row(f"row {i}", i % UNITS) for i in range(16))])
    out = tmp_path / "out"
    command = [sys.executable, "-m", "data_pipelines.prepare", given[0].path, f"--out={out}", f"--units={UNITS}"]
    command += ["--rows_per_shard=2", "--max_wer=0.1", "--recogniser=recognisers:slow", "--processes=2"]
    paths = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support")))
    environment = {**os.environ, "PYTHONPATH": paths, "HEARING_SECONDS": "1"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as running:
        while len(shards(out)) < 3:
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.02)
        workers = psutil.Process(running.pid).children(recursive=True)
        os.kill(running.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert len(workers) >= 2 and not alive, "no process outlives the one that was killed"
    made = shards(out)
    assert 3 <= len(made) < 12 and not (out / "card.json").exists()
    with pytest.raises(InputError, match=r"no dataset_info\.json"):
        read_prepared(out, "train")

    prepare(given, out, SETTINGS, 1)
    assert len(made.items() & shards(out).items()) >= len(made) - 2, "only what has no report yet is made again"
    prepare(given, tmp_path / "clean", SETTINGS, 1)
    assert contents(out) == contents(tmp_path / "clean")


@pytest.mark.slow
def test_number_of_processes_changes_nothing_and_finished_shards_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "STARTING", 0.0)  # however little there is to do, processes are started
    given = data(tmp_path, [*BAD, *(row(f"row {i}") for i in range(4))])
    for processes in (1, 2):
        prepare(given, tmp_path / str(processes), SETTINGS, processes)
    one, two = (contents(tmp_path / name) for name in "12")
    assert one == two and SHARD.format(5, 6) in one
    before = shards(tmp_path / "1")
    prepare(given, tmp_path / "1", SETTINGS, 1)
    assert shards(tmp_path / "1") == before and contents(tmp_path / "1") == two


def test_little_work_starts_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ProcessPoolExecutor", None)
    card = prepare(data(tmp_path, [row(f"row {i}") for i in range(4)]), tmp_path / "out", SETTINGS, 2)
    assert card["rows"] == {"train": 4}


def test_only_damaged_shards_are_written_again(tmp_path: Path) -> None:
    given, out = data(tmp_path, [row(f"row {i}") for i in range(6)]), tmp_path / "out"
    prepare(given, out, SETTINGS, 1)
    wanted, before = contents(out), shards(out)
    (out / SHARD.format(1, 3)).write_bytes(wanted[SHARD.format(1, 3)][:-9])
    (out / "shards" / f"{SHARD.format(2, 3)}.json").write_text("{")
    prepare(given, out, SETTINGS, 1)
    assert contents(out) == wanted
    assert {name for name, inode in shards(out).items() if before[name] == inode} == {SHARD.format(0, 3)}


def test_quarantine_is_in_order_and_the_first_good_row_of_an_id_is_kept(tmp_path: Path) -> None:
    card = prepare(data(tmp_path, BAD), tmp_path / "out", SETTINGS, 1)
    lines = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert [(line["line"], line["id"], line["reason"]) for line in lines] == [
        (1, "twice", "token_range"),
        (3, None, "malformed"),
        (5, "lost", "missing_audio"),
        (6, "a", "duplicate_id"),
        (7, "twice", "duplicate_id"),
    ]
    found = list(read_prepared(tmp_path / "out", "train"))
    assert [(r.id, r.line, r.messages[1].audio.tokens.tolist()) for r in found] == [
        ("a", 2, [1]),
        ("twice", 4, [2]),
        ("b", 8, [1]),
    ]
    reasons = "(duplicate_id 2, malformed 1, missing_audio 1, token_range 1)"
    assert summary(card) == f"rows 8, good 3, bad 5 {reasons}, hours 0.001"


def test_card_totals(tmp_path: Path) -> None:
    rows = [row("a", *range(10)), row("b", *range(15)), {"id": "c", **release_row("hi", "hello")}, row("d", 99)]
    prepare(data(tmp_path, rows), tmp_path / "out", SETTINGS, 1)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["rows"] == {"train": 3} and card["dropped"] == {"token_range": 1}
    assert card["kinds"] == {"speech to speech": 2, "text to text": 1}
    assert card["hours"] == {"user": round(2 / 3600, 6), "assistant": round(1 / 3600, 6)}
    tokens = card["tokens"]
    assert (tokens["speech"], tokens["text_of_spoken_replies"], tokens["text_per_second"]) == (25, 4, 4.0)
    assert card["seconds"] == {"1": 1, "2": 2} and sum(card["positions"].values()) == 3
    assert card["words"] == {"audios_heard": 2, "audios_not_heard": 2}
    names = [SHARD.format(i, 2) for i in range(2)]
    assert list(card["shards"]) == names
    assert card["bytes"] == sum((tmp_path / "out" / name).stat().st_size for name in names)
    page = (tmp_path / "out" / "card.md").read_text()
    assert "| token_range | 1 |" in page and card["checksum"] in page and "| speech to speech | 2 |" in page


def test_folder_prepared_with_other_settings_is_refused(tmp_path: Path) -> None:
    given, out = data(tmp_path, [row("a"), row("b")]), tmp_path / "out"
    prepare(given, out, SETTINGS, 1)
    wanted = contents(out)

    def refused(sources: list[Source], settings: Settings) -> str:
        with pytest.raises(InputError) as caught:
            prepare(sources, out, settings, 1)
        assert contents(out) == wanted and "\n" not in str(caught.value)
        return (
            str(caught.value)
            .removeprefix(f"{out}: was prepared with other settings: ")
            .removesuffix("; give another --out")
        )

    assert refused(given, Settings(units=UNITS, rows_per_shard=3, words=SLOW)) == "rows_per_shard was 2, is 3"
    assert refused(given, Settings(units=UNITS, rows_per_shard=2)).startswith('words was {"recogniser": "recognisers')
    save(tmp_path / "a.wav", 1.04)
    assert refused(given, SETTINGS).startswith('sources.0.checksum was "')
    data(tmp_path, [row("a"), row("b", 2)])
    assert refused(given, SETTINGS).startswith('sources.0.checksum was "')
    for name, told in (
        ("manifest.json", "damaged: give another --out"),
        ("other.txt", "no manifest.json: name another --out"),
    ):
        folder = tmp_path / name[:3]
        folder.mkdir()
        (folder / name).write_text("{")
        (folder / "shards").mkdir()
        with pytest.raises(InputError, match=told):
            prepare(given, folder, SETTINGS, 1)


def test_folder_without_a_finished_shard_can_be_reused(tmp_path: Path) -> None:
    audio = [json.dumps({"text": "hello", "ref_path": "a.wav"})]
    given, out = data(tmp_path, [release_row("say it", PLACEHOLDER, audio=audio)]), tmp_path / "out"
    with pytest.raises(InputError, match="the assistant's audio has no tokens; name a codec"):
        prepare(given, out, Settings(), 1)
    codec = UnitCodec.fit([np.random.default_rng(0).normal(0, 0.1, 16_000)], UnitCodecConfig(units=4))
    codec.save(tmp_path / "codec")
    assert prepare(given, out, Settings(codec=str(tmp_path / "codec")), 1)["rows"] == {"train": 1}


def test_duplicate_generated_ids_are_refused(tmp_path: Path) -> None:
    rows = [release_row("hi", "hello")]
    both = []
    for name in "xy":
        (tmp_path / name).mkdir()
        both += data(tmp_path / name, rows)
    with pytest.raises(InputError, match=r"y/rows\.jsonl:1: another file of this name has rows without id too"):
        prepare(both, tmp_path / "out", Settings(), 1)
    with pytest.raises(InputError, match=r"rows\.jsonl: no row there"):
        prepare(data(tmp_path, []), tmp_path / "out", Settings(), 1)
    assert not (tmp_path / "out").exists()


def test_all_rows_bad(tmp_path: Path) -> None:
    card = prepare(data(tmp_path, [b"{", row("a", 99)]), tmp_path / "out", SETTINGS, 1)
    assert summary(card) == "rows 2, good 0, bad 2 (malformed 1, token_range 1), hours 0.000"
    assert len(read_prepared(tmp_path / "out", "train")) == 0


@pytest.mark.parametrize("words", [["a=0"], ["all"], ["train", "train=2"], ["Train"], [], ["a=1", "b=x"]])
def test_parsing_of_splits(words: list[str]) -> None:
    assert splits(["train=98", "dev"]) == (("train", 98), ("dev", 1))
    with pytest.raises(InputError, match=f"^--split={','.join(words)}: write names with weights above 0"):
        splits(words)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["nowhere.jsonl"], "nowhere.jsonl: no such file or folder"),
        (["--max_wer=0.1"], "--max_wer and --recogniser go together"),
        (["--out=/proc/x"], "--out=/proc/x: cannot be written"),
    ],
)
def test_bad_options_are_refused_before_anything_is_written(options: list[str], message: str, tmp_path: Path) -> None:
    given, out = data(tmp_path, [row("a")])[0].path, tmp_path / "out"
    with pytest.raises(InputError, match=message):
        called("data_pipelines.prepare.__main__", given, f"--out={out}", *options)
    assert not out.exists()


def test_exit_code_of_a_missing_source(tmp_path: Path) -> None:
    result = launched("data_pipelines.prepare.__main__", f"--out={tmp_path / 'out'}")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: SOURCE is missing")
    assert not (tmp_path / "out").exists()
