"""Configs for LibriSpeech, Common Voice and pairs of one's own train on a few rows in the layouts of those sets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict
from record_run import STAGE, begin, run
from user_rows import preference_row, save, write_jsonl

from data_pipelines.prepare.reading import read_prepared
from experiments.configs import common_voice, finetune, librispeech, preferences
from experiments.run.data import Run
from fac_jax.checkpoint.export import load_params
from fac_jax.types import InputError

HEADER = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tdown_votes\tage\tgender\taccents\tvariant"


def tiny(config: ConfigDict, initial: Path, **data: Any) -> ConfigDict:
    """The config with few steps and small batches; what it says of sets and stages stays."""
    config.model.update({"init_from": str(initial), "remat": "none"})
    for stage in config.stages.values():
        stage.steps = 2
        stage.data.update({**STAGE, **data})
    return config


def rows_of(found: Run, name: str) -> dict[str, str]:
    """Transcripts by id."""
    one = found.sets[name].train
    return {row.id: row.messages[-1].text for row in read_prepared(one.folder, one.split)}


def utterances(folder: Path, subset: str, speaker: int, lines: list[str]) -> None:
    chapter = folder / "LibriSpeech" / subset / str(speaker) / "7"
    for number in range(len(lines)):
        save(chapter / f"{speaker}-7-{number:04d}.flac", 0.6 + 0.1 * number, format="FLAC")
    told = "".join(f"{speaker}-7-{number:04d} {line}\n" for number, line in enumerate(lines))
    (chapter / f"{speaker}-7.trans.txt").write_text(told)


def test_librispeech_as_it_is_unpacked(initial: Path, tmp_path: Path) -> None:
    utterances(tmp_path, "train-clean-100", 19, ["GO ON", "DO YOU HEAR"])
    utterances(tmp_path, "train-clean-360", 20, ["AND", "SO", "TO BED"])
    utterances(tmp_path, "dev-clean", 84, ["NEVER SEEN"])
    (tmp_path / "LibriSpeech" / "train-clean-360" / "20" / "7" / "20-7-0001.flac").write_bytes(b"fLaC cut")
    config = tiny(librispeech.get_config(str(tmp_path / "LibriSpeech")), initial)
    assert config.stages.pre_alignment.data.mixture.to_dict() == {"train_clean_100": 1.0, "train_clean_360": 1.0}
    found, curve = run(config, tmp_path)
    assert rows_of(found, "train_clean_100") == {"19-7-0000": "GO ON", "19-7-0001": "DO YOU HEAR"}
    assert rows_of(found, "train_clean_360") == {"20-7-0000": "AND", "20-7-0002": "TO BED"}
    (bad,) = map(json.loads, (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines())
    assert (bad["set"], bad["id"], bad["reason"]) == ("train_clean_360", "20-7-0001", "undecodable_audio")
    assert len(curve) == 2 and "speech_loss" not in curve[0]
    before, after = load_params(initial)[0], load_params(tmp_path / "run")[0]
    np.testing.assert_array_equal(before["backbone"]["embed"]["embedding"], after["backbone"]["embed"]["embedding"])
    assert np.any(before["encoder"]["conv1"]["kernel"] != after["encoder"]["conv1"]["kernel"])


def clips(folder: Path, language: str, sentences: dict[str, list[str]]) -> None:
    home = folder / "cv-corpus-17.0" / language
    for table, lines in sentences.items():
        names = [f"common_voice_{language}_{table}_{number}.mp3" for number in range(len(lines))]
        for name in names:
            save(home / "clips" / name, 0.8, 48_000, format="MP3")
        rows = [f"c\t{name}\ts\t{line}\t\t2\t0\t\t\t\t" for name, line in zip(names, lines, strict=True)]
        (home / f"{table}.tsv").write_text("\n".join([HEADER, *rows]) + "\n", encoding="utf-8")


@pytest.mark.slow
def test_common_voice_as_it_is_unpacked(initial: Path, tmp_path: Path) -> None:
    clips(tmp_path, "en", {"train": ['He said "yes.', "Go on."], "dev": ["Never seen."], "test": ["Nor this."]})
    clips(tmp_path, "zh-CN", {"train": ["你好", ""], "dev": [], "test": []})
    corpus = tmp_path / "cv-corpus-17.0"
    config = tiny(common_voice.get_config(str(corpus)), initial)
    found, curve = run(config, tmp_path)
    assert rows_of(found, "en") == {
        "common_voice_en_train_0": 'He said "yes.',
        "common_voice_en_train_1": "Go on.",
    }
    assert rows_of(found, "zh_CN") == {"common_voice_zh-CN_train_0": "你好"}
    (bad,) = map(json.loads, (tmp_path / "run" / "quarantine.jsonl").read_text().splitlines())
    assert (bad["set"], bad["reason"], bad["line"]) == ("zh_CN", "empty_text", 3)
    assert len(curve) == 2 and config.stages.pre_alignment.data.temperature == 3.0
    assert list(common_voice.get_config(str(corpus / "en")).data.sets) == ["en"]


@pytest.mark.slow
def test_pairs_of_ones_own(initial: Path, tmp_path: Path) -> None:
    save(tmp_path / "a.wav", 1.0)
    pairs = write_jsonl(tmp_path / "pairs.jsonl", [preference_row(id=f"p{i}") for i in range(3)])
    config = tiny(preferences.get_config(), initial)
    config.data.sets.pairs.path = str(pairs)
    _, curve = run(config, tmp_path)
    assert len(curve) == 2 and (tmp_path / "run" / "dpo" / "references-pairs.npz").exists()


def test_what_a_user_has_to_say_is_asked_for(tmp_path: Path) -> None:
    config = finetune.get_config()
    with pytest.raises(InputError, match=r"model\.init_from is not set: --config\.model\.init_from=DIR"):
        begin(config, tmp_path)
    config.model.preset = "tiny"
    with pytest.raises(InputError, match=r"data\.sets\.mine\.path is not set: --config\.data\.sets\.mine\.path=PATH"):
        begin(config, tmp_path)
    with pytest.raises(InputError, match=r"data\.sets\.train_clean_100: nowhere/train-clean-100: no such file"):
        config = librispeech.get_config("nowhere")
        config.model.preset = "tiny"
        begin(config, tmp_path)
    assert not list(tmp_path.iterdir())
