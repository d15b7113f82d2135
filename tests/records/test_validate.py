"""Rows that would break training are refused before it, each with its reason; all others are trained on."""

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from poison import GOOD, POISON, write_poisoned
from toy_world import UNITS, make_model, make_tokenizer
from user_rows import encoded, save, write_jsonl

from data_pipelines.importers.registry import read
from data_pipelines.records.quarantine import Account, quarantined
from data_pipelines.records.record import Audio, Message, Preference, Record, to_conversation, to_pair
from data_pipelines.records.reject import Reason, Rejected, one_line
from data_pipelines.records.validate import EstimatedText, Limits, limits_of, seconds, validate
from fac_jax.batching.collate import collate_packed, least_shapes
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode
from fac_jax.batching.packing import Budget, ItemSize, pack
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
LIMITS = Limits(units=UNITS)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_poisoned(tmp_path_factory.mktemp("poisoned"))


def test_exactly_the_poison_is_quarantined(poisoned: Path, tmp_path: Path) -> None:
    reasons = {reason for _, reason in POISON.values()}
    assert len(reasons) >= 12 and set(Reason) - reasons == {Reason.WORD_ERRORS}, "preparation alone can judge words"
    account = Account()
    quarantine = tmp_path / "new" / "q.jsonl"
    found = list(quarantined(validate(read(poisoned, "release"), LIMITS), quarantine, account))
    assert [row.id for row in found if isinstance(row, Record)] == list(GOOD)
    bad = [row for row in found if isinstance(row, Rejected)]
    assert {name: row.reason for name, row in zip(POISON, bad, strict=True)} == {n: c for n, (_, c) in POISON.items()}
    lines = poisoned.read_bytes().splitlines()
    given = [
        row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row, _ in POISON.values()
    ]
    assert [lines[row.line - 1] for row in bad] == given
    written = [json.loads(line) for line in quarantine.read_text().splitlines()]
    assert [(e["line"], e["reason"], e["file"]) for e in written] == [(b.line, b.reason, str(poisoned)) for b in bad]
    assert all(e.keys() == {"id", "file", "line", "reason", "detail"} and "\n" not in e["detail"] for e in written)
    assert account.good == len(GOOD) and account.bad == Counter(reason for _, reason in POISON.values())
    assert account.seconds == pytest.approx(5 + (UNITS + 2 + 1) / 25)
    assert not list(quarantine.parent.glob(".*"))


def test_what_is_left_is_laid_on_the_grid_to_the_last_row(poisoned: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = make_model(tokenizer)
    limits = limits_of(model, tokenizer, 2048)
    good = [row for row in validate(read(poisoned, "release"), limits) if isinstance(row, Record)]
    assert len(good) == len(GOOD)
    sides = [to_pair(row).chosen if row.preference else to_conversation(row) for row in good]
    examples = [encode(c, tokenizer, model, seq_len=limits.context) for c in add_features({"": sides}, None)[""]]
    _, windows = least_shapes(examples, model)
    rows, waiting = pack([ItemSize(len(one), 0) for one in examples], Budget(1, limits.context, 0))
    assert not waiting
    batch = collate_packed([[examples[i] for i in rows[0]]], 1, limits.context, windows, model)
    segments = np.asarray(batch.segment_ids)[np.asarray(batch.labels) >= 0]
    assert set(segments.tolist()) == set(range(1, len(good) + 1))


def test_the_context_is_counted_to_the_position(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = make_model(tokenizer)
    save(tmp_path / "good.wav", 1.0)
    rows = [GOOD["spoken"], GOOD["text"], GOOD["more text than speech"], GOOD["words behind the audio"]]
    for number, row in enumerate(rows):
        file = write_jsonl(tmp_path / f"{number}.jsonl", [row])
        exact = dataclasses.replace(LIMITS, tokenizer=tokenizer)
        (record,) = validate(read(file, "release"), exact)
        assert isinstance(record, Record)
        length = len(encode(to_conversation(record), tokenizer, model))
        (fits,) = validate(read(file, "release"), dataclasses.replace(exact, context=length))
        (bad,) = validate(read(file, "release"), dataclasses.replace(exact, context=length - 1))
        assert isinstance(fits, Record) and isinstance(bad, Rejected)
        assert bad.detail == f"{length} LLM positions, the context has {length - 1}"


def test_the_longer_side_of_a_pair_must_fit() -> None:
    def row(chosen: str, rejected: str) -> Record:
        preference = Preference("empathy", Message("assistant", chosen), Message("assistant", rejected))
        return Record("x", "", (Message("user", "hi"),), preference, "f", 1)

    limits = Limits(context=60)
    found = list(validate([row("yes", "no"), row("word " * 60, "no"), row("yes", "word " * 60)], limits))
    assert isinstance(found[0], Record)
    assert [bad.reason for bad in found[1:] if isinstance(bad, Rejected)] == [Reason.DUPLICATE_ID] * 2
    apart = [
        dataclasses.replace(row(*both), id=name)
        for name, both in (("a", ("word " * 60, "no")), ("b", ("yes", "word " * 60)))
    ]
    assert [bad.reason for bad in validate(apart, limits) if isinstance(bad, Rejected)] == [Reason.TOO_LONG] * 2


def test_a_row_that_says_another_rate_is_refused() -> None:
    def row(rate: int | None, name: str) -> Record:
        user = Message("user", "", Audio(data=encoded(0.5, 8_000), rate=rate))
        return Record(name, "", (user, Message("assistant", "yes")), None, "f", 1)

    kept, known, wrong = validate([row(None, "a"), row(8_000, "b"), row(16_000, "c")], LIMITS)
    assert isinstance(kept, Record) and isinstance(known, Record) and seconds(known) == 0.5
    assert isinstance(wrong, Rejected) and wrong.reason == Reason.WRONG_RATE
    assert wrong.detail == "the row says 16000 Hz, the file 8000 Hz: bytes"


def test_a_bad_row_leaves_its_id_to_a_good_one() -> None:
    bad = Record("x", "", (Message("user", ""), Message("assistant", "yes")), None, "f", 1)
    good = dataclasses.replace(bad, messages=(Message("user", "hi"), Message("assistant", "yes")), line=2)
    first, second, third = validate([bad, good, good], LIMITS)
    assert isinstance(first, Rejected) and isinstance(second, Record)
    assert isinstance(third, Rejected) and third.reason == Reason.DUPLICATE_ID


def test_estimates_and_details_are_of_one_line() -> None:
    assert [len(EstimatedText().encode(text)) for text in ("", "a", "four", "fünf")] == [0, 1, 1, 2]
    assert one_line("a\n b\t" + "c" * 300) == "a b " + "c" * 194 + ".." and one_line("\ud800") == "\\ud800"
    assert all(reason.meaning and "\n" not in reason.meaning for reason in Reason)


def test_a_quarantine_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        list(quarantined([], tmp_path / "file" / "q.jsonl", Account()))


def test_nothing_is_written_of_a_run_that_was_cut_short(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("before")
    rows = quarantined(iter([Rejected(Reason.MALFORMED, "x", "f", 1)] * 2), tmp_path / "q.jsonl", Account())
    next(rows)
    rows.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert [path.name for path in tmp_path.iterdir()] == ["q.jsonl"] and (tmp_path / "q.jsonl").read_text() == "before"


def check(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "data_pipelines.check", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_check_command(poisoned: Path, tmp_path: Path) -> None:
    result = check(str(poisoned), f"--quarantine={tmp_path / 'q.jsonl'}", "--format=release", f"--units={UNITS}")
    assert result.returncode == 0, result.stderr
    *lines, last = result.stdout.splitlines()
    assert len(lines) == len(POISON) == len((tmp_path / "q.jsonl").read_text().splitlines())
    assert lines[0].startswith("line 3: malformed: the row cannot be parsed")
    assert lines[5] == "text: duplicate_id: an earlier row has the same id (id text)"
    assert last.startswith(
        f"rows {len(GOOD) + len(POISON)}, good {len(GOOD)}, bad {len(POISON)} (bad_tokens 2, bad_utf8 2, "
    )
    assert last.endswith(", hours 0.002") and result.stderr == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["README.md"], "README.md: its format cannot be told; say it with --format"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_exit_code_two(words: list[str], message: str, tmp_path: Path) -> None:
    result = check(*words, f"--quarantine={tmp_path / 'q.jsonl'}")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"error: {message}") and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
