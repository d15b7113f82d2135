"""Tokenizer and codec of a run on rows of one's own: the model's, the config's, or fitted on the rows."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from data_pipelines.importers.registry import read
from data_pipelines.prepare.settings import Source
from data_pipelines.records.audio import with_waves
from data_pipelines.records.record import Audio, Record
from data_pipelines.records.reject import RejectedError, is_utf8
from experiments.run.record_config import RecordsConfig
from fac_jax.audio.mel import RATE
from fac_jax.checkpoint.assets import CODEC, TOKENIZER, assets, copy_assets
from fac_jax.codec.base import FILE as CODEC_FILE
from fac_jax.codec.base import TOKEN_RATE, Codec, load_codec
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer
from fac_jax.types import InputError

FITTED_ON: Final = 512  # spoken replies, the first ones, that a codec is fitted on
TAUGHT: Final = 100_000  # rows, the first ones, that a tokenizer is trained on
UNIT: Final = RATE // TOKEN_RATE  # samples of a speech token


def make_tokenizer(data: RecordsConfig, sources: Sequence[Source], initial: Path | None, folder: Path) -> Tokenizer:
    """The tokenizer in `folder`, where that of the model to start from is, else the config's, else one that is trained.

    Raises:
      InputError: the config names one beside the model's; it is none; or there is no text to train one on.
    """
    if initial and data.tokenizer:
        raise InputError(f"config key data.tokenizer is {data.tokenizer}, but {initial} brings its own: leave it out")
    if not (folder / TOKENIZER).exists():
        if data.tokenizer:
            given = Path(data.tokenizer)
            Tokenizer.load(given)
            found = assets(given) if given.is_dir() else {TOKENIZER: given}
            folder.mkdir(parents=True, exist_ok=True)
            copy_assets({name: file for name, file in found.items() if file.is_file()}, folder)
        else:
            texts = (text for record in itertools.islice(_records(sources), TAUGHT) for text in _texts(record))
            train_tokenizer(texts, data.vocab_size, folder / TOKENIZER)
    return Tokenizer.load(folder)


def make_codec(data: RecordsConfig, sources: Sequence[Source], initial: Path | None, folder: Path) -> Codec | None:
    """The codec in `folder`, where that of the model to start from is, else the config's; None if neither has one.

    Raises:
      InputError: the config names one beside the model's; it is none; or there is not enough speech to fit one.
    """
    asked = data.codec is not None or data.units is not None
    if asked and initial and (initial / CODEC).exists():
        raise InputError(f"config key data.{'codec' if data.codec else 'units'} is set, but {initial} brings a codec")
    if asked and not (folder / CODEC_FILE).exists():
        if data.codec is not None:
            load_codec(data.codec).save(folder)
        else:
            waves = list(itertools.islice(_replies(sources), FITTED_ON))
            if not waves:
                raise InputError("config key data.units fits a codec, but no spoken reply lacks tokens: leave it out")
            UnitCodec.fit(waves, UnitCodecConfig(data.units or 0)).save(folder)
    return load_codec(folder) if (folder / CODEC_FILE).exists() else None


def _records(sources: Sequence[Source]) -> Iterator[Record]:
    """Rows that could be read, not checked yet."""
    for source in sources:
        for row in read(source.path, source.format, source.root, source.view, source.split):
            if isinstance(row, Record):
                yield row


def _texts(record: Record) -> Iterator[str]:
    messages = (*record.messages, *record.replies)
    texts = (record.system or "", *(text for message in messages for text in (message.lead, message.text)))
    return (text for text in texts if text.strip() and is_utf8(text))


def _replies(sources: Sequence[Source]) -> Iterator[np.ndarray]:
    """Waves of spoken replies without tokens; those that cannot be read are left to preparation."""
    for record in _records(sources):
        if all(audio.tokens is not None for audio in _spoken(record)):
            continue
        try:
            decoded = with_waves(record)
        except RejectedError:
            continue
        for audio in _spoken(decoded):
            wave = audio.wave
            if audio.tokens is None and wave is not None and len(wave) >= UNIT and np.isfinite(wave).all():
                yield wave


def _spoken(record: Record) -> list[Audio]:
    messages = (*record.messages, *record.replies)
    return [m.audio for m in messages if m.role == "assistant" and m.audio is not None]
