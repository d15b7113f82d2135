"""The pure function from rows to prepared rows: check, quantise, filter by words, encode speech, compress."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from data_pipelines.prepare import flac
from data_pipelines.prepare.settings import Judge, Tools
from data_pipelines.records.record import Audio, Message, Record, with_messages
from data_pipelines.records.reject import Reason, Rejected
from data_pipelines.records.validate import validate
from fac_jax.batching.features import speech_ids
from fac_jax.types import InputError

TOGETHER: Final = 32  # rows whose audio is decoded, recognised and encoded together


@dataclasses.dataclass(frozen=True, eq=False)
class Prepared:
    """A row ready to be stored.

    Attributes:
      record: record with waves as they are read back from FLAC, and the tokens of all speech that needs them.
      flacs: FLAC bytes of `record.audios` in order; empty for an audio without a wave.
    """

    record: Record
    flacs: tuple[bytes, ...]


def prepare(rows: Sequence[Record | Rejected], tools: Tools) -> list[Prepared | Rejected]:
    """Prepares or rejects every row, in order. The caller handles rows with the same id.

    Raises:
      InputError: speech needs a codec and there is none, or the recogniser returns another number of texts.
    """
    found = [_quantised(checked) for row in rows for checked in validate([row], tools.limits)]
    if tools.judge is not None:
        found = _filtered(found, tools.judge)
    encoded: dict[bytes, bytes] = {}  # FLAC files by the digest of the wave: replies repeat themselves
    tokenised = _tokenised(found, tools)
    return [row if isinstance(row, Rejected) else Prepared(row, _flacs(row, encoded)) for row in tokenised]


def judged_text(message: Message, audio: Audio, judge: Judge) -> str | None:
    """The words that must be heard in an audio; None if the filter does not apply or cannot judge."""
    if message.role not in judge.words.speakers or audio.wave is None:
        return None
    text = message.text if message.role == "assistant" else audio.transcript
    return text if judge.can_judge(text) else None


def spoken(record: Record) -> list[tuple[Message, Audio]]:
    """Messages and replies with audio, in the order of `record.audios`."""
    return [(message, message.audio) for message in (*record.messages, *record.replies) if message.audio is not None]


def _with_audios(record: Record, audios: Sequence[Audio]) -> Record:
    """The record with its audios replaced, in the order of `record.audios`."""
    left = iter(audios)

    def replaced(message: Message) -> Message:
        return message if message.audio is None else dataclasses.replace(message, audio=next(left))

    return with_messages(record, replaced)


def _quantised(row: Record | Rejected) -> Record | Rejected:
    """Rounds waves as they will be stored, so that their tokens are those of the stored waves; drops file bytes."""
    if isinstance(row, Rejected):
        return row
    audios = [
        audio if audio.wave is None else dataclasses.replace(audio, wave=flac.as_stored(audio.wave), data=None)
        for audio in row.audios
    ]
    return _with_audios(row, audios)


def _filtered(rows: Sequence[Record | Rejected], judge: Judge) -> list[Record | Rejected]:
    waves: list[np.ndarray] = []
    texts: list[str] = []
    places: list[int] = []
    for i, row in enumerate(rows):
        for message, audio in [] if isinstance(row, Rejected) else spoken(row):
            text = judged_text(message, audio, judge)
            if text is not None and audio.wave is not None:
                waves.append(audio.wave)
                texts.append(text)
                places.append(i)
    worst = [0.0] * len(rows)
    for i, rate in zip(places, judge.rates(waves, texts) if waves else [], strict=True):
        worst[i] = max(worst[i], rate)
    most = judge.words.most
    return [
        row
        if isinstance(row, Rejected) or rate <= most
        else Rejected(
            Reason.WORD_ERRORS, f"word error rate {rate:.2f}, kept up to {most:g}", row.file, row.line, row.id
        )
        for row, rate in zip(rows, worst, strict=True)
    ]


def _tokenised(rows: Sequence[Record | Rejected], tools: Tools) -> list[Record | Rejected]:
    """The records with the tokens of all speech that needs them.

    Equal waves are encoded once. The distinct ones make one batch, sorted by length.
    """
    encoded = {"waveform": ("assistant",), "tokens": ("assistant", "user")}[tools.user_audio]
    lacking = [
        (i, place, audio.wave)
        for i, row in enumerate(rows)
        if isinstance(row, Record)
        for place, (message, audio) in enumerate(spoken(row))
        if message.role in encoded and audio.tokens is None and audio.wave is not None
    ]
    if not lacking:
        return list(rows)
    if tools.codec is None:
        i, place, _ = lacking[0]
        row = rows[i]
        assert isinstance(row, Record)
        raise InputError(
            f"{row.file}:{row.line}: row {row.id}: the {spoken(row)[place][0].role}'s audio has no tokens; name a "
            "codec to encode it (--codec, or data.codec of a config)"
        )
    digests = {(i, place): _digest(wave) for i, place, wave in lacking}
    waves = {digests[i, place]: wave for i, place, wave in sorted(lacking, key=lambda found: len(found[2]))}
    ids = dict(zip(waves, speech_ids(list(waves.values()), tools.codec), strict=True))
    tokens = {place: ids[digest] for place, digest in digests.items()}

    def with_tokens(i: int, record: Record) -> Record:
        audios = [
            dataclasses.replace(audio, tokens=tokens.get((i, place), audio.tokens))
            for place, audio in enumerate(record.audios)
        ]
        return _with_audios(record, audios)

    return [row if isinstance(row, Rejected) else with_tokens(i, row) for i, row in enumerate(rows)]


def _flacs(record: Record, encoded: dict[bytes, bytes]) -> tuple[bytes, ...]:
    """Returns the FLAC files of the record's audios; `encoded` holds those that were made before."""

    def encode(wave: np.ndarray) -> bytes:
        key = _digest(wave)
        if key not in encoded:
            encoded[key] = flac.encode(wave)
        return encoded[key]

    return tuple(b"" if audio.wave is None else encode(audio.wave) for audio in record.audios)


def _digest(wave: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(wave).data, digest_size=16).digest()
