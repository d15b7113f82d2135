"""The model that a recipe begins with: a preset, or a model of ours to start from, with its tokenizer and codec."""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fac_jax.checkpoint.assets import CODEC, TOKENIZER, copy_assets, trained_assets
from fac_jax.checkpoint.export import load_config, resolve
from fac_jax.codec.base import Codec
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.presets import preset
from fac_jax.text.special_ids import TEXT_SPECIALS, speech_special_ids
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError


def initial_folder(values: Mapping[str, Any]) -> Path | None:
    """Model of ours that a config's `model` starts from (`init_from`); None for a preset.

    Raises:
      InputError: neither is named, or there is no such model.
    """
    if values.get("preset"):
        return None
    if not values.get("init_from"):
        raise InputError("config key model.init_from is not set: --config.model.init_from=DIR, a model to start from")
    return resolve(Path(values["init_from"]))


def base_model(values: Mapping[str, Any]) -> ModelConfig:
    """The preset, or the model to start from, that `values` name, with their changes.

    Vocabulary and special ids of a preset are not those of any data yet.

    Raises:
      InputError: an unknown preset or key, or there is no such model.
    """
    initial = initial_folder(values)
    changes = {key: value for key, value in values.items() if key not in ("preset", "init_from")}
    try:
        return replace(load_config(initial), **changes) if initial else preset(values["preset"], **changes)
    except ValueError as error:
        raise InputError(str(error)) from error


def copy_once(initial: Path, workdir: Path) -> None:
    """Takes tokenizer and codec of a model to start from, unless an earlier run has.

    Raises:
      InputError: the model has no tokenizer.
    """
    found = trained_assets(initial)
    if TOKENIZER not in found:
        raise InputError(f"{initial / TOKENIZER}: no such file; the model's tokenizer is needed")
    if not (workdir / "tokenizer").exists():
        codec = found.pop(CODEC, None)
        if codec:
            shutil.copytree(codec, workdir / CODEC, dirs_exist_ok=True)
        beside = workdir / "tokenizer.unfinished"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        copy_assets(found, beside)
        beside.rename(workdir / "tokenizer")


def fitted(config: ModelConfig, tokenizer: Tokenizer, units: int) -> ModelConfig:
    """A preset with the vocabulary and the special ids of a tokenizer and of a codec with so many units."""
    return dataclasses.replace(
        config,
        vocab_size=tokenizer.vocab_size,
        codebook_size=units + len(speech_special_ids(units)),
        special=tokenizer.special_ids(units),
    )


def check_fits(config: ModelConfig, tokenizer: Tokenizer, codec: Codec | None, where: Path) -> None:
    """Holds the tokenizer and the codec against the model that they came to.

    Raises:
      InputError: the model has no place for their ids, or the tokenizer gives a special token another id.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise InputError(f"{where}: the tokenizer has {tokenizer.vocab_size} ids, the model {config.vocab_size}")
    if codec is not None and codec.units > config.units:
        raise InputError(
            f"{where}: the codec has {codec.units} units, the model {config.units}; set --config.data.codec.units"
        )
    for field, token in TEXT_SPECIALS.items():
        theirs, ours = tokenizer.token_id(token), getattr(config.special, field)
        if theirs != ours:
            raise InputError(f"{where}: the tokenizer gives {token} the id {theirs}, config.json {ours}")
