"""Tokenizer and codec of a run, of the model to start from, the config's or fitted on rows; a model fitted to them."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from etils import epath

from data_pipelines.importers.registry import read
from data_pipelines.prepare.settings import Source
from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import Message, Record
from data_pipelines.records.reject import RejectedError, is_utf8
from experiments.run.schema import DataConfig
from fac_jax.audio.mel import RATE
from fac_jax.checkpoint.export import CODEC, TOKENIZER, assets, copy_assets, trained_assets
from fac_jax.codec.base import FILE as CODEC_FILE
from fac_jax.codec.base import TOKEN_RATE, Codec, load_codec
from fac_jax.codec.unit_codec import UnitCodec
from fac_jax.io import replacing
from fac_jax.models.config import ModelConfig
from fac_jax.text.special_ids import TEXT_SPECIALS, speech_special_ids
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.types import InputError

CODEC_REPLIES: Final = 2048  # replies of different words that a codec is fitted on, at most
TOKENIZER_ROWS: Final = 100_000  # rows that a tokenizer is trained on, at most
UNIT: Final = RATE // TOKEN_RATE  # samples of a speech token


def make_tokenizer(data: DataConfig, sources: Sequence[Source], initial: epath.Path | None, folder: Path) -> Tokenizer:
    """Returns the tokenizer in `folder`; where there is none yet, the config's, or one that is trained on the rows.

    Raises:
      InputError: the config names one although the model brings its own; it is damaged; or there is no text.
    """
    if initial and data.tokenizer:
        raise InputError(f"config key data.tokenizer is {data.tokenizer}, but {initial} brings its own: leave it out")
    if not (folder / TOKENIZER).exists():
        if data.tokenizer:
            given = Path(data.tokenizer)
            Tokenizer.load(given)
            found = assets(given) if given.is_dir() else {TOKENIZER: given}
            _copy_tokenizer({name: epath.Path(file) for name, file in found.items() if file.is_file()}, folder)
        else:
            rows = itertools.islice(_records(sources), TOKENIZER_ROWS)
            # A text counts as often as rows say it: byte pairs are merged by how often they occur.
            texts = (text for record in rows for text in _texts(record))
            train_tokenizer(texts, data.vocab_size, folder / TOKENIZER)
    return Tokenizer.load(folder)


def make_codec(data: DataConfig, sources: Sequence[Source], initial: epath.Path | None, folder: Path) -> Codec | None:
    """Returns the codec in `folder`; where there is none yet, the config's, or one that is fitted on the replies.

    None if the config asks for no codec and the model brings none.

    Raises:
      InputError: the config names one although the model brings its own; it is damaged; or there is no speech.
    """
    asked = "codec" if data.codec is not None else "unit_codec" if data.unit_codec is not None else None
    if asked and initial and (initial / CODEC).exists():
        raise InputError(f"config key data.{asked} is set, but {initial} brings a codec: leave it out")
    if asked and not (folder / CODEC_FILE).exists():
        if data.codec is not None:
            load_codec(data.codec).save(folder)
        elif data.unit_codec is not None:
            waves = list(itertools.islice(_replies(sources), CODEC_REPLIES))
            if not waves:
                raise InputError("data.unit_codec fits a codec, but no spoken reply lacks tokens: leave it out")
            UnitCodec.fit(waves, data.unit_codec).save(folder)
    return load_codec(folder) if (folder / CODEC_FILE).exists() else None


def _records(sources: Sequence[Source]) -> Iterator[Record]:
    """Yields the rows of all sources in turn that can be read; they are not checked yet."""
    rows = [iter(read(one.path, one.format, one.root, one.view, one.split)) for one in sources]
    for together in itertools.zip_longest(*rows):
        yield from (row for row in together if isinstance(row, Record))


def _texts(record: Record) -> Iterator[str]:
    messages = (*record.messages, *record.replies)
    texts = (record.system or "", *(text for message in messages for text in (message.lead, message.text)))
    return (text for text in texts if text.strip() and is_utf8(text))


def _replies(sources: Sequence[Source]) -> Iterator[np.ndarray]:
    """Yields the waves of spoken replies without tokens, one for every text; preparation reports unreadable ones."""
    seen: set[str] = set()
    for record in _records(sources):
        new = [m for m in _spoken(record) if m.text not in seen]
        if all(m.audio is None or m.audio.tokens is not None for m in new):
            continue
        try:
            decoded = with_waves(record)
        except RejectedError:
            continue
        for message in _spoken(decoded):
            wave = None if message.audio is None or message.audio.tokens is not None else message.audio.wave
            if message.text in seen or wave is None or len(wave) < UNIT or not np.isfinite(wave).all():
                continue
            seen.add(message.text)
            yield wave


def _spoken(record: Record) -> list[Message]:
    messages = (*record.messages, *record.replies)
    return [m for m in messages if m.role == "assistant" and m.audio is not None]


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
    codec = found.pop(CODEC, None)
    if codec:
        copy_assets({CODEC: codec}, workdir)
    _copy_tokenizer(found, workdir / "tokenizer")


def _copy_tokenizer(files: Mapping[str, epath.Path], folder: epath.PathLike) -> None:
    """Copies the files of a tokenizer, `tokenizer.json` last and at once: what holds it is complete."""
    folder = epath.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    copy_assets({name: file for name, file in files.items() if name != TOKENIZER}, folder)
    with replacing(folder / TOKENIZER) as part:
        files[TOKENIZER].copy(part, overwrite=True)


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
      InputError: the tokenizer has more ids than the model, the codec has other ids, or a special token has another id.
    """
    if tokenizer.vocab_size > config.vocab_size:
        raise InputError(f"{where}: the tokenizer has {tokenizer.vocab_size} ids, the model {config.vocab_size}")
    if codec is not None and codec.units != config.units:
        raise InputError(f"{where}: the codec has {codec.units} units, the model {config.units}; take another codec")
    for field, token in TEXT_SPECIALS.items():
        theirs, ours = tokenizer.token_id(token), getattr(config.special, field)
        if theirs != ours:
            raise InputError(f"{where}: the tokenizer gives {token} the id {theirs}, config.json {ours}")
