"""Decoding of the audios of a record to float32 mono at 16 kHz."""

import dataclasses
import functools
from typing import Final

from data_pipelines.paths import data_path, is_remote
from data_pipelines.records.record import Audio, Message, Record, with_messages
from data_pipelines.records.reject import Reason, RejectedError
from fac_jax.audio.io import RATE, AudioError, Fault, Sound, decode, read

REASONS: Final[dict[Fault, Reason]] = {
    "missing": Reason.MISSING_AUDIO,
    "undecodable": Reason.UNDECODABLE_AUDIO,
    "rate": Reason.WRONG_RATE,
    "not finite": Reason.NON_FINITE,
    "empty": Reason.EMPTY_AUDIO,
    "channel": Reason.CALL,
}


def _read(path: str, channel: int | None) -> Sound:
    """The sound of a file; a URL is downloaded; raises as `fac_jax.audio.io.read`."""
    if not is_remote(path):
        return read(path, channel=channel)
    file = data_path(path)
    if not file.exists():
        raise AudioError("missing", f"audio file not found: {path}")
    return decode(file.read_bytes(), path, channel=channel)


_read_once = functools.lru_cache(maxsize=2)(_read)  # segments of one long recording follow each other


def with_waves(record: Record) -> Record:
    """Returns the record with the wave of every audio.

    A spoken reply with tokens is trained on without its recording, so its file may be absent.

    Raises:
      RejectedError: an audio cannot be read, or its stored rate differs from the one that the row states.
    """
    return with_messages(record, _decoded)


def _decoded(message: Message) -> Message:
    audio = message.audio
    if audio is None or audio.wave is not None:
        return message
    if audio.data is None and audio.path is None:
        if audio.tokens is None:
            raise RejectedError(
                Reason.MISSING_AUDIO, f"the {message.role}'s audio has neither a file nor speech tokens"
            )
        return message
    try:
        return dataclasses.replace(message, audio=_with_wave(audio))
    except AudioError as error:
        if error.fault == "missing" and message.role == "assistant" and audio.tokens is not None:
            return message
        raise RejectedError(REASONS[error.fault], str(error)) from None
    except OSError as error:
        raise RejectedError(Reason.MISSING_AUDIO, f"audio file cannot be opened: {error}") from None


def _with_wave(audio: Audio) -> Audio:
    if audio.data is not None:
        sound = decode(audio.data, audio.named or "bytes in the row", channel=audio.channel)
    else:
        assert audio.path is not None
        segment = audio.start > 0 or audio.end is not None
        sound = (_read_once if segment else _read)(audio.path, audio.channel)
    if audio.rate is not None and audio.rate != sound.stored_rate:
        raise RejectedError(
            Reason.WRONG_RATE,
            f"the row says {audio.rate} Hz, the file {sound.stored_rate} Hz: {audio.named or audio.path or 'bytes'}",
        )
    if audio.start == 0 and audio.end is None:
        return dataclasses.replace(audio, wave=sound.wave)
    end = sound.seconds if audio.end is None else audio.end
    if not 0 <= audio.start < end or end > sound.seconds + 0.1:
        raise RejectedError(
            Reason.EMPTY_AUDIO, f"no audio from {audio.start} to {end} s: {audio.path} has {sound.seconds:.2f} s"
        )
    wave = sound.wave[round(audio.start * RATE) : round(end * RATE)]
    return dataclasses.replace(audio, wave=wave)
