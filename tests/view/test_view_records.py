"""The viewer's page of users' rows, in any format and prepared."""

from pathlib import Path

import numpy as np
import pytest
from launchers import called
from toy_world import UNITS
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, spoken, write_jsonl

from data_pipelines.prepare.local import prepare
from data_pipelines.prepare.settings import Settings, Source
from data_pipelines.view.blocks import laid_out, render
from data_pipelines.view.samples import record_samples, stand_ins
from fac_jax.types import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    save(folder / "a.wav", 1.0)
    audio = [heard("a.wav", 1.0), spoken("hello", [3, 6560, 4])]
    rows = [
        release_row(PLACEHOLDER, PLACEHOLDER, audio=audio, id="spoken"),
        b"{",
        release_row("hi", "hello", id="text"),
    ]
    write_jsonl(folder / "rows.jsonl", [*rows, release_row("no", "more", id="later")])
    write_jsonl(folder / "pairs.jsonl", [preference_row(id="pair"), preference_row(id="other", task="robustness")])
    write_jsonl(folder / "heard.jsonl", [{"id": "said", "audio": "a.wav", "text": "go on"}])
    prepare([Source(str(folder / "rows.jsonl"), "release")], folder / "prepared", Settings(), 1)
    return folder


def test_conversations_are_shown_and_bad_rows_returned(folder: Path) -> None:
    chosen, refused = record_samples(folder / "rows.jsonl", 2)
    assert [sample.row for sample in chosen] == ["spoken", "text"] and [bad.line for bad in refused] == [2]
    assert chosen[0].note == 'rows.jsonl:1, "hello"' and chosen[1].note == "rows.jsonl:3"
    reader = stand_ins(chosen)
    assert reader.grid.units == 6561 and reader.codec is None
    first, _ = laid_out(chosen, reader)
    assert [stretch.kind for stretch in first.stretches] == ["text", "heard", "text", "said", "text"]
    assert first.said == 3 and first.heard_seconds == 1.0
    assert "6560" in render("rows", [first], reader)


def test_prepared_rows_are_shown_like_their_sources(folder: Path) -> None:
    (before, _), (after, refused) = (record_samples(folder / name, 9) for name in ("rows.jsonl", "prepared"))
    assert [s.row for s in after] == [s.row for s in before] == ["spoken", "text", "later"] and not refused
    waves = [sample.conversation.turns[0].wave for sample in (before[0], after[0])]
    np.testing.assert_allclose(*waves, atol=1e-4)
    with pytest.raises(InputError, match="no split 'dev'; it has train"):
        record_samples(folder / "prepared", 1, split="dev")


def test_pairs_make_two_samples_and_transcripts_may_be_spoken(folder: Path) -> None:
    chosen, _ = record_samples(folder / "pairs.jsonl", 9)
    assert [s.conversation.id for s in chosen[:2]] == ["pair:chosen", "pair:rejected"] and len(chosen) == 4
    assert {s.row for s in record_samples(folder / "pairs.jsonl", 9, "robustness")[0]} == {"other"}
    (sample,), _ = record_samples(folder / "heard.jsonl", 9, view="tts")
    assert sample.conversation.turns[0].wave is None and sample.conversation.turns[1].text == "go on"
    reader = stand_ins([sample])
    assert reader.codec is not None and laid_out([sample], reader)[0].said == 25


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("nowhere", "", "no such file or folder"),
        ("rows.jsonl", "empathy", "no row to look at has the task 'empathy'; 1 cannot be trained on"),
        ("rows.jsonl", "s2s", "unknown task 's2s' of .*; known: robustness"),
    ],
)
def test_missing_rows_are_named(folder: Path, name: str, task: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        record_samples(folder / name, 9, task)


def test_tokens_of_another_codec_are_rejected(folder: Path) -> None:
    reader = stand_ins(record_samples(folder / "pairs.jsonl", 9)[0])
    assert reader.grid.units < UNITS
    chosen, refused = record_samples(folder / "rows.jsonl", 9, reader=reader)
    assert [s.row for s in chosen] == ["text", "later"] and "the codec has 0 to" in refused[0].detail


def test_command_shows_rows_and_prints_rejected_ones(folder: Path, tmp_path: Path, capsys) -> None:
    options = (f"--out={tmp_path / 'page.html'}", "--rows=3", '--augment={"noise": {"probability": 1}}')
    called("data_pipelines.view.__main__", str(folder / "rows.jsonl"), *options)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("line 2: malformed: ") and printed[1] == "rows       3"
    page = (tmp_path / "page.html").read_text()
    assert "<audio" in page and "rows.jsonl:1" in page
    assert "<title>rows.jsonl: 3 rows</title>" in page and str(folder) not in page
