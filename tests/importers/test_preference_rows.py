"""Rows of LLaMA-Factory and TRL, and our own spoken preferences."""

import json
from pathlib import Path

import pytest
from user_rows import preference_row, release_row, spoken, told, write_jsonl

from data_pipelines.importers import release
from data_pipelines.importers.registry import read
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Reason, Rejected
from fac_jax.types import InputError


def pair(found: Record | Rejected) -> tuple[str, str, str]:
    assert isinstance(found, Record) and found.preference is not None
    return found.preference.task, found.preference.chosen.text, found.preference.rejected.text


def test_llama_factory(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "<audio>What is it?"}, {"from": "gpt", "value": "A tone."}]
    rows = [
        {"conversations": turns, "audios": ["a.wav"], "system": "s"},
        {"conversations": turns, "audios": []},
        {"conversations": turns[:1], "audios": ["a.wav"], "chosen": {"from": "gpt", "value": "b"}, "rejected": "c"},
        {
            "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "x"}],
            "audios": [],
            "chosen": "y",
        },
        {
            "messages": [{"role": "user", "content": "Hear: <audio>"}, {"role": "assistant", "content": "y"}],
            "audios": ["b"],
        },
        {"conversations": [{"value": "x"}]},
    ]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    found = list(read(file))
    assert [told(row) for row in found] == [
        ("rows:1", "u:~What is it?", "a:A tone."),
        (2, Reason.PLACEHOLDERS),
        ("rows:3", "u:~What is it?", "a:b", "a:c"),
        (4, Reason.MISSING_KEY),
        ("rows:5", "u:Hear: ~", "a:y"),
        (6, Reason.MISSING_KEY),
    ]
    assert (
        isinstance(found[0], Record) and found[0].system == "s" and found[0].audios[0].path == str(tmp_path / "a.wav")
    )
    assert pair(found[2]) == ("instruction", "b", "c")
    file.write_text("[{")
    with pytest.raises(InputError, match=r"rows\.json: not JSON"):
        list(read(file))


def test_trl(tmp_path: Path) -> None:
    def says(*contents: str) -> list[dict[str, str]]:
        return [{"role": ("user", "assistant")[i % 2], "content": words} for i, words in enumerate(contents)]

    reply = {"role": "assistant", "content": "good"}
    rows = [
        {"prompt": "hi", "chosen": "good", "rejected": "bad", "task": "empathy"},
        {"prompt": says("hi"), "chosen": [reply], "rejected": says("", "bad")[1:]},
        {"chosen": says("hi", "ho", "hi", "good"), "rejected": says("hi", "ho", "hi", "bad")},
        {"prompt": "hi", "chosen": says("hi", "good"), "rejected": says("hi", "bad")},
        {"prompt": "hi", "chosen": "good"},
        {"chosen": "good", "rejected": "bad"},
        {"prompt": "other", "chosen": says("hi", "good"), "rejected": says("hi", "bad")},
        {"prompt": "hi", "chosen": [], "rejected": "bad"},
        {"prompt": [{"role": "system", "content": "s"}, *says("hi")], "chosen": "good", "rejected": "bad"},
    ]
    found = list(read(write_jsonl(tmp_path / "t.jsonl", rows)))
    good = [row for row in found if isinstance(row, Record)]
    assert [told(row)[1:] for row in good] == [
        ("u:hi", "a:good", "a:bad"),
        ("u:hi", "a:good", "a:bad"),
        ("u:hi", "a:ho", "u:hi", "a:good", "a:bad"),
        ("u:hi", "a:good", "a:bad"),
        ("u:hi", "a:good", "a:bad"),
    ]
    assert [pair(row)[0] for row in good] == ["empathy"] + 4 * ["instruction"] and good[4].system == "s"
    bad = [told(row) for row in found if isinstance(row, Rejected)]
    assert bad == [(5, Reason.MISSING_KEY), (6, Reason.MISSING_KEY), (7, Reason.ROLE_ORDER), (8, Reason.WRONG_TYPE)]


def test_spoken_preferences_round_trip(tmp_path: Path) -> None:
    written = {"chosen": {"role": "assistant", "content": "yes"}, "rejected": {"role": "assistant", "content": "no"}}
    rows = [
        preference_row(),
        preference_row(id="one", chosen_audio=spoken("yes", [1, 2])),
        {**release_row("hi"), **written, "task": "robustness"},
        preference_row(task=None),
        preference_row(chosen_audio=[]),
        preference_row(chosen="yes"),
    ]
    found = list(read(write_jsonl(tmp_path / "p.jsonl", rows)))
    assert [told(row) for row in found] == [
        ("p:1", "u:~", "a:~yes", "a:~no"),
        ("one", "u:~", "a:~yes", "a:~no"),
        ("p:3", "u:hi", "a:yes", "a:no"),
        (4, Reason.MISSING_KEY),
        (5, Reason.PLACEHOLDERS),
        (6, Reason.WRONG_TYPE),
    ]
    for row, record in zip(rows[:2], found, strict=False):
        assert isinstance(record, Record) and release.export(record) == row
        assert [reply.audio.tokens.tolist() for reply in record.replies] == [[1, 2], [3]]
