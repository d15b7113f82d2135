"""Rows that would break training are refused before it, each with its reason; all others are trained on."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from launchers import called, launched
from poison import GOOD, POISON, write_poisoned
from toy_world import UNITS, make_model, make_tokenizer
from user_rows import encoded, save, write_jsonl

from data_pipelines.importers.registry import read
from data_pipelines.records.record import Audio, Message, Preference, Record, to_conversation, to_pair
from data_pipelines.records.reject import Account, Reason, Rejected, one_line, quarantined, seconds
from data_pipelines.records.validate import EstimatedText, Limits, validate
from fac_jax.audio.io import save_wav
from fac_jax.batching.collate import collate, least_shapes
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode
from fac_jax.types import InputError

LIMITS = Limits(units=UNITS)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_poisoned(tmp_path_factory.mktemp("poisoned"))


def test_exactly_the_bad_rows_are_quarantined(poisoned: Path, tmp_path: Path) -> None:
    reasons = {reason for _, reason in POISON.values()}
    others = {Reason.WORD_ERRORS, Reason.CALL}  # preparation alone can judge words; the release has no calls
    assert len(reasons) >= 12 and set(Reason) - reasons == others
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


def test_good_rows_can_be_encoded_and_collated(poisoned: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer(tmp_path)
    model = make_model(tokenizer)
    limits = Limits(units=UNITS, tokenizer=tokenizer)
    good = [row for row in validate(read(poisoned, "release"), limits) if isinstance(row, Record)]
    assert len(good) == len(GOOD)
    sides = [to_pair(row).chosen if row.preference else to_conversation(row) for row in good]
    examples = [encode(c, tokenizer, model) for c in add_features(sides, None)]
    seq_len, windows = least_shapes(examples, model)
    assert seq_len <= limits.context
    batch = collate(examples, len(examples), seq_len, windows, model)
    assert (np.asarray(batch.labels) >= 0).any(axis=1).all()


def test_context_limit_is_exact(tmp_path: Path) -> None:
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


def test_stated_rate_must_be_that_of_the_file() -> None:
    def row(rate: int | None, name: str) -> Record:
        user = Message("user", "", Audio(data=encoded(0.5, 8_000), rate=rate))
        return Record(name, "", (user, Message("assistant", "yes")), None, "f", 1)

    kept, known, wrong = validate([row(None, "a"), row(8_000, "b"), row(16_000, "c")], LIMITS)
    assert isinstance(kept, Record) and isinstance(known, Record) and seconds(known) == 0.5
    assert isinstance(wrong, Rejected) and wrong.reason == Reason.WRONG_RATE
    assert wrong.detail == "the row says 16000 Hz, the file 8000 Hz: bytes"


def test_duplicate_ids_of_bad_rows_are_allowed() -> None:
    bad = Record("x", "", (Message("user", ""), Message("assistant", "yes")), None, "f", 1)
    good = dataclasses.replace(bad, messages=(Message("user", "hi"), Message("assistant", "yes")), line=2)
    first, second, third = validate([bad, good, good], LIMITS)
    assert isinstance(first, Rejected) and isinstance(second, Record)
    assert isinstance(third, Rejected) and third.reason == Reason.DUPLICATE_ID


def test_estimates_and_one_line() -> None:
    assert [len(EstimatedText().encode(text)) for text in ("", "a", "four", "fünf")] == [0, 1, 1, 2]
    assert one_line("a\n b\t" + "c" * 300) == "a b " + "c" * 194 + ".." and one_line("\ud800") == "\\ud800"
    assert all(reason.meaning and "\n" not in reason.meaning for reason in Reason)


def test_quarantine_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        list(quarantined([], tmp_path / "file" / "q.jsonl", Account()))


def test_interrupted_quarantine_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("before")
    rows = quarantined(iter([Rejected(Reason.MALFORMED, "x", "f", 1)] * 2), tmp_path / "q.jsonl", Account())
    next(rows)
    rows.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert [path.name for path in tmp_path.iterdir()] == ["q.jsonl"] and (tmp_path / "q.jsonl").read_text() == "before"


def test_check_prints_rejected_rows_and_totals(poisoned: Path, tmp_path: Path, capsys) -> None:
    options = (f"--quarantine={tmp_path / 'q.jsonl'}", "--format=release", f"--units={UNITS}")
    called("data_pipelines.check", str(poisoned), *options)
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("warning")]
    assert len(lines) == len(POISON) + 1 and len((tmp_path / "q.jsonl").read_text().splitlines()) == len(POISON)
    assert lines[0].startswith("line 3: malformed: the row cannot be parsed")
    assert lines[5] == "text: duplicate_id: an earlier row has the same id (id text)"
    assert lines[-1].startswith(f"rows {len(GOOD) + len(POISON)}, good {len(GOOD)}, bad {len(POISON)} (bad_tokens 2, ")
    assert lines[-1].endswith(", hours 0.002")


def test_check_warns_of_silence_clipping_and_text_that_does_not_fit(tmp_path: Path, capsys) -> None:
    wave = np.sin(np.arange(16_000, dtype=np.float32) / 20)
    soundfile.write(tmp_path / "antiphase.wav", np.stack([wave, -wave], axis=1) * 0.3, 16_000)  # its mean is silence
    save_wav(tmp_path / "clipped.wav", np.clip(3 * wave, -1, 1))
    save_wav(tmp_path / "cut.wav", 0.3 * wave[:1120])
    save_wav(tmp_path / "good.wav", 0.3 * wave)
    names = ("antiphase", "clipped", "cut", "good")
    rows = [{"id": name, "audio": f"{name}.wav", "text": "what is two plus three"} for name in names]
    called("data_pipelines.check", str(write_jsonl(tmp_path / "rows.jsonl", rows)))
    *lines, total, warnings = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1:3] for line in lines] == [
        ["antiphase", "silent"],
        ["clipped", "clipped"],
        ["cut", "text_rate"],
    ]
    assert total.startswith("rows 4, good 4, bad 0")
    assert warnings == "warnings 3 (clipped 1, silent 1, text_rate 1)"
    assert not list(tmp_path.glob("*.part")) and not (tmp_path / "quarantine.jsonl").exists()


def test_exit_code_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    result = launched("data_pipelines.check", "README.md", f"--quarantine={tmp_path / 'q.jsonl'}")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith("error: README.md: its format") and result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
