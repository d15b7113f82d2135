"""Rows of one's own train a model by one config, whatever they are and whatever is wrong with some of them."""

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from etils import epath
from ml_collections import ConfigDict
from poison import GOOD, POISON, write_poisoned
from record_run import begin, dialogues, lines, make_config, run
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, write_jsonl

from data_pipelines.loading.encode import Encode
from experiments.run.data import Run
from experiments.run.model_card import model_card
from experiments.run.scores import losses
from fac_jax.audio.remarks import Heard
from fac_jax.checkpoint.export import load_config, load_params
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
ROOMY = {"seq_len": 512}
DPO: dict[str, Any] = {"loss": {"kind": "preference"}, "data": {"segments": 2}}


def ids(found: Run, name: str, pairs: bool = False) -> list[str]:
    one = found.sets[name].train
    return [one.records[int(i)].id for i in np.flatnonzero(one.wanted(pairs))]


def test_a_poisoned_set_trains_to_the_end(initial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    poisoned = write_poisoned(tmp_path)
    config = make_config(initial, {"mine": {"path": str(poisoned), "format": "release"}}, data=ROOMY)
    with config.unlocked():
        config.recipe = ("finetune", "dpo")
        config.stages.dpo = config.stages.finetune.copy_and_resolve_references()
    config.stages.dpo.update({"loss": {"kind": "preference", "reference": "frozen"}})
    config.stages.dpo.data.update({"seq_len": 96, "segments": 2})
    config.stages.finetune.steps = 4
    made, curve = run(config, tmp_path)
    assert ids(made, "mine") + ids(made, "mine", pairs=True) == [n for n in GOOD if n != "pair"] + ["pair"]
    found = lines(tmp_path / "run" / "quarantine.jsonl")
    rows = poisoned.read_bytes().splitlines()
    bad = [
        row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row, _ in POISON.values()
    ]
    assert [rows[row["line"] - 1] for row in found] == bad and len(found) == 35
    assert [row["reason"] for row in found] == [reason for _, reason in POISON.values()]
    assert {row["set"] for row in found} == {"mine"} and {row["file"] for row in found} == {str(poisoned)}
    assert f"mine: rows {len(GOOD) + len(POISON)}, good {len(GOOD)}, bad 35 (bad_tokens 2, " in capsys.readouterr().err
    steps = lines(tmp_path / "run" / "finetune" / "metrics.jsonl")
    assert [line["step"] for line in steps] == [1, 2, 3, 4] and [line["step"] for line in curve] == [1, 2]
    assert all(math.isfinite(line["loss"]) for line in (*steps, *curve))


@pytest.mark.slow
def test_formats_are_mixed_by_weight_with_a_tokenizer_and_a_codec_of_their_own(tmp_path: Path) -> None:
    for i in range(6):
        save(tmp_path / "folder" / f"{i}.flac", 2.0 + 0.2 * i, 44_100, 2, "FLAC")
        (tmp_path / "folder" / f"{i}.txt").write_text("go on")
    save(tmp_path / "said.wav", 1.0, 8_000)
    manifest = write_jsonl(tmp_path / "said.jsonl", [{"audio": "said.wav", "text": f"read {i}"} for i in range(3)])
    text = write_jsonl(tmp_path / "text.jsonl", [release_row("hi", f"hello {i}") for i in range(4)])
    sets = {
        "heard": {"path": str(tmp_path / "folder"), "waves": {"speed": {"factor": (0.8, 1.2)}, "noise": {}}},
        "said": {"path": str(manifest), "view": "tts"},
        "written": {"path": str(text)},
    }
    weights = {"heard": 4.0, "said": 1.0, "written": 1.0}
    data = {"mixture": weights, "batch_rows": 3, "seq_len": 192, "windows_per_row": None}
    config = make_config(None, sets, steps=3, data=data)
    config.model.update({"preset": "tiny", "text": {"depth": 1}, "audio": {"depth": 1}, "head": {"depth": 1}})
    config.data.update({"vocab_size": 330, "unit_codec": {"units": 4}})
    found, curve = run(config, tmp_path)
    fitted = found.config.model
    assert fitted.units == 4 and fitted.vocab_size <= 330 and math.isfinite(curve[-1]["speech_loss"])
    model = load_config(tmp_path / "run")
    assert (model.units, model.vocab_size) == (4, fitted.vocab_size)
    assert {file.name for file in (tmp_path / "run" / "finetune" / "model").iterdir()} >= {"tokenizer.json", "codec"}
    measured = Heard.load(tmp_path / "run" / "finetune" / "model" / "heard.json")
    assert measured.seconds >= 4 and measured.level_db is not None and measured.level_db[0] < measured.level_db[1] < 0

    again = begin(config, tmp_path)
    (stage,) = again.config.stages
    budget = again.budget(stage)
    assert budget.windows_per_row >= 4 and stage.data.sources == weights
    batches = again.train_data(stage, {}, epath.Path(tmp_path))
    seen = [name for loaded in itertools.islice(iter(batches.__next__, None), 12) for name in loaded.row_ids]
    batches.close()
    share = sum(name.isdigit() for name in seen) / len(seen)
    assert 0.5 < share < 0.8 and any(name.startswith("said:") for name in seen)
    # The same audio sounds differently in another epoch, and lasts longer at most as it was measured.
    heard_set = found.sets["heard"]
    record = heard_set.train.records[0]
    make = Encode(found.tokenizer, fitted, waves=heard_set.waves, seed=stage.seed)
    first, same, other = (make(record, epoch) for epoch in (0, 0, 1))
    np.testing.assert_array_equal(first.mels[0], same.mels[0])
    assert first.mels[0].shape != other.mels[0].shape or not np.array_equal(first.mels[0], other.mels[0])
    assert max(len(make(record, epoch)) for epoch in range(20)) <= heard_set.train.lengths.length[0]


def test_a_model_card_names_data_hearing_and_results(initial: Path, tmp_path: Path) -> None:
    sets = {"short": {"path": str(dialogues(tmp_path, 4)), "waves": {"gain": {}, "silence": {"within": 2.0}}}}
    card = model_card(begin(make_config(initial, sets), tmp_path, "carded"), {"wer": 0.25, "conditions.clean": 0.5})
    assert "| short | 4 | silence, gain |" in card and "Waves are heard as they are" in card
    assert "| wer | 0.250 |\n| clean | 0.500 |" in card


def test_a_stage_may_hear_waves_as_they_are(tmp_path: Path, initial: Path) -> None:
    save(tmp_path / "a.wav", 0.8)
    rows = write_jsonl(tmp_path / "heard.jsonl", [release_row(PLACEHOLDER, "yes", audio=[heard("a.wav", 0.8)])])
    noise = {"noise": {"probability": 1.0}}
    mels = []
    for waves, augment in ((noise, True), (noise, False), ({}, True)):
        sets = {"heard": {"path": str(rows), "waves": waves}}
        found = begin(make_config(initial, sets, data={"augment": augment}), tmp_path, f"{augment}{len(waves)}")
        batches = found.train_data(found.config.stages[0], {}, epath.Path(tmp_path))
        mels.append(next(batches).batch.mel_windows)
        batches.close()
    np.testing.assert_array_equal(mels[1], mels[2])
    assert not np.array_equal(mels[0], mels[1])


def test_what_a_batch_cannot_hold_is_told_and_left_out(initial: Path, tmp_path: Path) -> None:
    short, long = dialogues(tmp_path, 4), dialogues(tmp_path, 2, "long", "word " * 60)
    sets = {"short": {"path": str(short)}, "long": {"path": str(long)}, "both": {"path": str(tmp_path / "all.jsonl")}}
    (tmp_path / "all.jsonl").write_bytes(short.read_bytes() + long.read_bytes())
    config = make_config(initial, sets, data={"mixture": {"short": 1.0, "both": 1.0}})
    made, _ = run(config, tmp_path)
    found = lines(tmp_path / "run" / "quarantine.jsonl")
    assert [(row["set"], row["id"], row["reason"]) for row in found] == [
        ("both", f"long{i}", "too_long") for i in (0, 1)
    ]
    assert "a row of stage finetune has 96" in found[0]["detail"]
    assert made.sets["both"].train.lengths.length.max() > 96
    assert made.trained_rows("both").sum() == 4  # of six; those of the others are not in the model card either
    with config.unlocked():
        config.stages.finetune.data.mixture = ConfigDict({"long": 1.0})
    with pytest.raises(InputError, match=r"data\.sets\.long has no conversations that fit its batches: the shortest"):
        begin(config, tmp_path, "other")
    with config.unlocked():
        config.stages.finetune.data.mixture = ConfigDict({"short": 1.0})
    assert begin(config, tmp_path, "other").sets.keys() == {"short"}  # the refused start has bound nothing


@pytest.mark.slow
def test_prepared_folders_are_taken_as_they_are(initial: Path, tmp_path: Path) -> None:
    rows = dialogues(tmp_path, 9)
    command = [sys.executable, "-m", "data_pipelines.prepare", str(rows), f"--out={tmp_path / 'out'}"]
    subprocess.run([*command, "--split=train=2,dev=1", "--units=16"], cwd=ROOT, check=True, capture_output=True)
    sets = {"train": {"path": str(tmp_path / "out")}, "dev": {"path": str(tmp_path / "out"), "split": "dev"}}
    found, _ = run(make_config(initial, sets), tmp_path)
    parts = [ids(found, name) for name in sets]
    assert sorted(parts[0] + parts[1]) == sorted(f"rows{i}" for i in range(9)) and all(parts)
    assert [p.name for p in (tmp_path / "data" / "prepared").iterdir() if not p.name.startswith("lengths-")] == []
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "codec": "another"}))
    with pytest.raises(InputError, match=r"data\.sets\.(dev|train): its rows changed since the run in .* started"):
        begin(make_config(initial, sets), tmp_path)


# A frozen reference is trained with in the test of a poisoned set, a stored one in tests/batching/test_pairs.py.
@pytest.mark.slow
@pytest.mark.parametrize("reference", ["stored", "frozen"])
def test_pairs_are_preferred_with_either_reference(initial: Path, tmp_path: Path, reference: str) -> None:
    save(tmp_path / "a.wav", 1.0)
    rows = write_jsonl(tmp_path / "pairs.jsonl", [preference_row(id=f"p{i}") for i in range(5)])
    text = {"prompt": "one plus two", "chosen": "three", "rejected": "four"}
    trl = write_jsonl(tmp_path / "trl.jsonl", [{**text, "id": f"t{i}"} for i in range(3)])
    sets = {"spoken": {"path": str(rows), "eval_path": str(rows)}, "written": {"path": str(trl)}}
    config = make_config(initial, sets, loss=DPO["loss"], data={"batch_rows": 2, **DPO["data"]}, micro_batches=2)
    config.stages.finetune.loss.update({"kind": "preference", "reference": reference})
    config.evals.every = 2
    made, curve = run(config, tmp_path)
    # Before its first update the policy is the reference: no margin.
    assert curve[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert curve[-1]["loss"] != curve[0]["loss"]
    stage = tmp_path / "run" / "finetune"
    stored = {file.name for file in stage.glob("references-*.npz")}
    names = {"references-spoken.npz", "references-spoken-held-out.npz", "references-written.npz"}
    assert stored == (names if reference == "stored" else set())
    # The reference of the trained model is not itself.
    last = lines(stage / "evals.jsonl")[-1]
    again = losses(made, load_params(stage)[0])
    assert again == pytest.approx({name: last[name] for name in again}, rel=1e-5) and last["spoken/loss"] != math.log(2)
