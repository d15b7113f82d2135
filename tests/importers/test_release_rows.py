"""The release's rows: in and out without loss, and laid on the grid as the model's description says."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_world import UNITS
from user_rows import PLACEHOLDER, heard, release_row, save, spoken, write_jsonl

from data_pipelines.importers import release
from data_pipelines.importers.registry import read
from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import Audio, Message, Record, to_conversation
from data_pipelines.records.reject import Reason, Rejected
from fac_jax.audio.io import load
from fac_jax.audio.mel import log_mel
from fac_jax.batching.collate import GRID_FIELDS, collate
from fac_jax.batching.grid import encode
from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.models.config import ModelConfig
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError, Kind

SECONDS = 0.83
REPLY = "one plus two is zero minus two plus one"


def records(folder: Path, rows: list[Any]) -> list[Record]:
    found = list(read(write_jsonl(folder / "rows.jsonl", rows), "release"))
    assert all(isinstance(one, Record) for one in found), found
    return [one for one in found if isinstance(one, Record)]


USUAL = {
    "spoken both ways": release_row(
        PLACEHOLDER, PLACEHOLDER, audio=[heard("a.wav", 1.0), spoken("hi", [1, 0, 6560], "b.wav")]
    ),
    "with an instruction, several turns": release_row(
        f"{PLACEHOLDER}\nsay it in German", "ja", "text", PLACEHOLDER, audio=[heard("a.wav", 2.0), spoken("ü", [7])]
    ),
    "words before the audio": release_row(f"Listen: {PLACEHOLDER}\nWhat is it?", "a tone", audio=[heard("a.wav", 1.0)]),
    "text alone": release_row("hi", "hello"),
    "an id": {"id": "row-1", **release_row("hi", "hello")},
}
UNUSUAL = {
    "the old key": release_row(
        PLACEHOLDER, "yes", audio=[json.dumps({"wav_path": "a.wav", "text": "", "token": "<|audio_pad|>" * 25})]
    ),
    "no key audio": {
        "system": "s",
        "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}],
    },
    "system among the messages": {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "y"},
        ],
        "audio": [],
    },
    "keys of its own": release_row("hi", "hello", topic="greeting", weight=0.5),
    "another delay": release_row(
        "hi",
        PLACEHOLDER,
        audio=[json.dumps({"token": "<|audio_bos|>" * 5 + "[AU0001]", "text": "a", "ref_path": "b.wav"})],
    ),
    "compact JSON with escapes": release_row(
        PLACEHOLDER, "yes", audio=[json.dumps(json.loads(heard("ü.wav", 1.0)), separators=(",", ":"))]
    ),
    "no line break behind the audio": release_row(f"{PLACEHOLDER}What?", "a tone", audio=[heard("a.wav", 1.0)]),
    "a user's path that tokens replace": release_row(PLACEHOLDER, "yes", audio=[spoken("", [1, 2], path="gone.wav")]),
    "a number as id": release_row("hi", "hello", id=7),
}


@pytest.mark.parametrize("name", [*USUAL, *UNUSUAL])
def test_rows_round_trip(name: str, tmp_path: Path) -> None:
    row = {**USUAL, **UNUSUAL}[name]
    (record,) = records(tmp_path, [row])
    assert release.export(record) == row
    assert (record.original is None) == (name in USUAL)


def test_added_audio_and_tokens_do_not_change_an_exported_row(tmp_path: Path) -> None:
    for row in (USUAL["spoken both ways"], UNUSUAL["the old key"], UNUSUAL["compact JSON with escapes"]):
        (record,) = records(tmp_path, [row])
        user = record.messages[0]
        audio = dataclasses.replace(
            user.audio, data=b"fLaC", wave=np.zeros(9, np.float32), tokens=np.zeros(3, np.int32)
        )
        messages = (dataclasses.replace(user, audio=audio), *record.messages[1:])
        assert release.export(dataclasses.replace(record, messages=messages)) == row


def test_changed_row_is_exported_as_a_new_one(tmp_path: Path) -> None:
    (record,) = records(tmp_path, [UNUSUAL["keys of its own"]])
    changed = dataclasses.replace(record, messages=(record.messages[0], Message("assistant", "good day")))
    assert release.export(changed)["messages"][1]["content"] == "good day"


def test_export_of_records_from_other_formats(tmp_path: Path) -> None:
    wave = np.zeros(16_000, np.float32)
    user = Message("user", "", Audio(path="a.wav", named="a.wav", wave=wave, transcript="hello"))
    reply = Message("assistant", "hi", Audio(tokens=np.arange(3, dtype=np.int32)))
    record = Record("x", "s", (user, reply), None, "m.csv", 2)
    row = release.export(record)
    assert row["audio"] == [heard("a.wav", 1.0), spoken("hi", range(3))] and row["id"] == "x"
    unencoded = dataclasses.replace(reply, audio=Audio(wave=wave, named="b.wav"))
    with pytest.raises(InputError, match="row x: the assistant's audio has no speech tokens"):
        release.export(dataclasses.replace(record, messages=(user, unencoded)))
    nameless = dataclasses.replace(user, audio=Audio(wave=wave))
    with pytest.raises(InputError, match="row x: the user's audio has no file"):
        release.export(dataclasses.replace(record, messages=(nameless, reply)))


def test_tokens_with_a_delay_replace_the_path(tmp_path: Path) -> None:
    entries = [spoken("", [1, 2], path="gone.wav"), heard("a.wav", 0.08, token="[AU0003][AU0004]")]
    replaced, both = (
        m.messages[0].audio for m in records(tmp_path, [release_row(PLACEHOLDER, "y", audio=[e]) for e in entries])
    )
    assert replaced.path is None and replaced.tokens.tolist() == [1, 2]
    assert both.path == str(tmp_path / "a.wav") and both.tokens.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (release_row(PLACEHOLDER, "y"), Reason.PLACEHOLDERS),
        (release_row("x", "y", audio=[heard("a.wav", 1.0)]), Reason.PLACEHOLDERS),
        (release_row("<|AUDIO|>", "y", audio=[heard("a.wav", 1.0)]), Reason.PLACEHOLDERS),
        (release_row(2 * PLACEHOLDER, "y", audio=[heard("a.wav", 1.0)] * 2), Reason.LAYOUT),
        (release_row("x", f"y {PLACEHOLDER}", audio=[spoken("y", [1])]), Reason.LAYOUT),
        (release_row("x", PLACEHOLDER, audio=[spoken("y", [1], token="[AU]")]), Reason.BAD_TOKENS),
        (release_row("x", PLACEHOLDER, audio=[spoken("y", [1], token="[AU" + "9" * 5000 + "]")]), Reason.BAD_TOKENS),
        (release_row("x", PLACEHOLDER, audio=["{"]), Reason.MALFORMED),
        (release_row("x", PLACEHOLDER, audio=[3]), Reason.WRONG_TYPE),
        (release_row(PLACEHOLDER, "y", audio=[heard(["a.wav"], 1.0)]), Reason.WRONG_TYPE),
        ({"messages": "x"}, Reason.WRONG_TYPE),
        ({"system": "x"}, Reason.MISSING_KEY),
        ({"messages": [{"role": "user"}]}, Reason.MISSING_KEY),
        ({"messages": ["x"]}, Reason.WRONG_TYPE),
        ([], Reason.MALFORMED),
        (b"[" * 100_000, Reason.MALFORMED),
    ],
)
def test_malformed_rows_are_rejected_with_their_reason(row: Any, reason: Reason, tmp_path: Path) -> None:
    (bad, good) = read(write_jsonl(tmp_path / "rows.jsonl", [row, USUAL["text alone"]]), "release")
    assert isinstance(bad, Rejected) and (bad.reason, bad.line) == (reason, 1) and isinstance(good, Record)
    assert "\n" not in bad.detail and len(bad.detail) <= 200


def release_arrays(row: dict[str, Any], wave: np.ndarray, tokenizer: Tokenizer, model: ModelConfig) -> dict[str, Any]:
    """The processor's tensors of one row with a spoken question and a spoken reply, from sections 4, 7 and 8."""
    special, group = model.special, model.group_size
    user, assistant = map(json.loads, row["audio"])
    units = [special.speech_bos] * 10 + [
        int(unit[2:]) for unit in assistant["token"].split("[")[1:] for unit in [unit[:-1]]
    ]
    counts = [user["token"].count("<|audio_pad|>"), len(units)]
    text = tokenizer.encode(assistant["text"])
    groups = [-(-counts[0] // group), max(-(-counts[1] // group), len(text))]
    units += [special.speech_pad] * (groups[1] * group - len(units) if len(text) == groups[1] else 0)
    counts[1] = len(units)
    length = max(groups) * group
    speech = np.full((2, length), special.speech_pad, np.int32)
    speech[1, : counts[1]] = units
    texts = np.full((2, max(groups)), special.pad, np.int32)
    texts[1, : groups[1]] = (text + [special.sil] * groups[1])[: groups[1]]
    start, between, end = tokenizer.token_id("<|im_start|>"), tokenizer.encode("\n"), special.eos
    asked = row["messages"][0]["content"].split(PLACEHOLDER)[1]
    before = [start, *tokenizer.encode(f"system\n{row['system']}"), end, *between, start, *tokenizer.encode("user\n")]
    before += [
        special.audio_bos,
        *[special.audio] * groups[0],
        special.audio_eos,
        *tokenizer.encode(asked),
        end,
        *between,
    ]
    before += [start, *tokenizer.encode("assistant\n")]
    said = [special.audio_bos, *[special.audio] * groups[1], special.audio_eos, end]
    mel = np.asarray(log_mel(wave)).T
    return {
        "input_ids": np.array([before + said]),
        "attention_mask": np.ones((1, len(before + said)), np.int32),
        "labels": np.array([[-100] * len(before) + said]),
        "speech_ids": speech,
        "speech_attention_mask": np.arange(length) < np.array(counts)[:, None],
        "text_ids": texts,
        "text_attention_mask": np.array([False, True]),
        "input_features": mel[None],
        "feature_attention_mask": np.ones((1, mel.shape[1]), np.int32),
        "feature_exist_mask": np.array([True, False]),
    }


@pytest.mark.parametrize("tokens", [3, 10, 47, 60])
def test_encoded_row_equals_the_tensors_of_the_release(
    tokens: int, tmp_path: Path, tokenizer: Tokenizer, model: ModelConfig
) -> None:
    wave = load(save(tmp_path / "a.wav", SECONDS))
    units = np.random.default_rng(tokens).integers(0, UNITS, tokens).tolist()
    row = release_row(f"{PLACEHOLDER}\nadd them", PLACEHOLDER, audio=[heard("a.wav", SECONDS), spoken(REPLY, units)])
    (record,) = records(tmp_path, [row])
    example = encode(to_conversation(with_waves(record)), tokenizer, model)
    want = release_batch(release_arrays(row, wave, tokenizer, model), model)
    got = collate([example], 1, want.text_ids.shape[1], len(want.mel_lengths), model)

    speech = np.asarray(want.kind) == Kind.SPEECH  # there the release's text stream is empty, ours the placeholder
    np.testing.assert_array_equal(got.text_ids[~speech], want.text_ids[~speech])
    # What is laid behind a text that outlasts its speech is ours alone: the release cuts the text.
    last = -(-(10 + tokens) // model.group_size) * model.group_size
    for name in (*GRID_FIELDS, "segment_ids", "positions"):
        if name == "speech_labels":
            joint = np.asarray(want.kind) == Kind.JOINT
            ours, theirs = (np.asarray(b.speech_labels)[joint].reshape(-1)[: 10 + tokens] for b in (got, want))
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(got.speech_labels[~joint], want.speech_labels[~joint])
        elif name != "text_ids":
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name), name)
    np.testing.assert_array_equal(got.mel_lengths, want.mel_lengths)
    np.testing.assert_allclose(got.mel_windows, want.mel_windows, atol=1e-4)
    text = tokenizer.encode(REPLY)
    kept = got.labels[np.asarray(want.kind) == Kind.JOINT]
    assert kept[: len(text)].tolist() == text, "a reply's text is never cut"
    assert len(kept) == max(len(text), last // model.group_size)
