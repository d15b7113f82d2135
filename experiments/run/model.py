"""The model that a run starts from: a preset fitted to its data, or a finished model with its tokenizer and codec."""

import dataclasses

from etils import epath

from fac_jax.checkpoint.assets import CODEC, TOKENIZER, copy_assets, trained_assets
from fac_jax.codec.base import Codec
from fac_jax.models.config import ModelConfig
from fac_jax.text.special_ids import TEXT_SPECIALS, speech_special_ids
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError


def copy_initial_assets(initial: epath.PathLike, workdir: epath.PathLike) -> None:
    """Copies tokenizer and codec of a model to start from into the workdir, unless an earlier start has.

    Raises:
      InputError: the model has no tokenizer.
    """
    initial, workdir = epath.Path(initial), epath.Path(workdir)
    found = trained_assets(initial)
    if TOKENIZER not in found:
        raise InputError(f"{initial / TOKENIZER}: no such file; the model's tokenizer is needed")
    if (workdir / "tokenizer" / TOKENIZER).exists():
        return
    (workdir / "tokenizer").mkdir(parents=True, exist_ok=True)
    codec = found.pop(CODEC, None)
    if codec:
        copy_assets({CODEC: codec}, workdir)
    tokenizer = found.pop(TOKENIZER)
    copy_assets(found, workdir / "tokenizer")
    copy_assets({TOKENIZER: tokenizer}, workdir / "tokenizer")  # last: what holds it is complete


def fitted(config: ModelConfig, tokenizer: Tokenizer, units: int) -> ModelConfig:
    """Returns a preset with the vocabulary and the special ids of a tokenizer, and of a codec with that many units."""
    return dataclasses.replace(
        config,
        vocab_size=tokenizer.vocab_size,
        codebook_size=units + len(speech_special_ids(units)),
        special=tokenizer.special_ids(units),
    )


def check_fits(config: ModelConfig, tokenizer: Tokenizer, codec: Codec | None, where: epath.PathLike) -> None:
    """Checks the tokenizer and the codec against the model that they came to.

    Raises:
      InputError: the model has no place for their ids, or the tokenizer gives a special token another id.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise InputError(f"{where}: the tokenizer has {tokenizer.vocab_size} ids, the model {config.vocab_size}")
    if codec is not None and codec.units > config.units:
        raise InputError(
            f"{where}: the codec has {codec.units} units, the model {config.units}; set --config.data.unit_codec.units"
        )
    for field, token in TEXT_SPECIALS.items():
        theirs, ours = tokenizer.token_id(token), getattr(config.special, field)
        if theirs != ours:
            raise InputError(f"{where}: the tokenizer gives {token} the id {theirs}, config.json {ours}")
