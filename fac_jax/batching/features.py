"""Log-mel and speech tokens of many conversations at once, each distinct wave only once."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float, Float32, Int32

from fac_jax.audio.front_end import levelled, trimmed
from fac_jax.audio.io import resampled
from fac_jax.audio.mel import BINS, RATE, log_mel, mel_frames
from fac_jax.batching.conversation import Conversation, StoredFeatures, Turn
from fac_jax.codec.base import TOKEN_RATE, Codec
from fac_jax.types import FrontEnd, InputError, UserAudio

BATCH = 64  # waves transformed together
BUCKET = 8000  # samples to whose multiples waves are padded: one compilation each


class Hearing(Protocol):
    """What a model hears of a user's audio; `ModelConfig` has these properties.

    Attributes:
      user_audio: its "waveform", as log-mel, or the codec's "tokens".
      front_end: what is done to a wave before its features.
      mel_bins: bins of the log-mel.
    """

    @property
    def user_audio(self) -> UserAudio: ...
    @property
    def front_end(self) -> FrontEnd: ...
    @property
    def mel_bins(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Hears:
    """The `Hearing` of the release."""

    user_audio: UserAudio = "waveform"
    front_end: FrontEnd = "plain"
    mel_bins: int = BINS


def speech_tokens(row: str, turn: Turn) -> int:
    """Returns the number of speech tokens (25 Hz) of a turn's audio.

    It is the number of its ids, or `int(25 * seconds)` of its wave as it is heard; 0 for silence.

    Raises:
      InputError: the audio is shorter than one token; names the row.
    """
    if isinstance(turn.mel, StoredFeatures):
        tokens = turn.mel.samples * TOKEN_RATE // RATE
    elif turn.speech is not None:
        tokens = len(turn.speech)
    else:
        tokens = 0 if turn.wave is None else len(turn.wave) * TOKEN_RATE // RATE
    if tokens == 0 and not turn.silent:
        raise InputError(f"row {row}: the {turn.role}'s audio is shorter than one speech token (40 ms): remove the row")
    return tokens


def mels(waves: Sequence[Float[np.ndarray, " _N"]], bins: int = BINS) -> list[Float32[np.ndarray, "_M bins"]]:
    """Computes the log-mel of every wave at 16 kHz, in batches of similar lengths."""
    order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
    found = [np.empty((0, bins), np.float32)] * len(waves)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        rows = 1 << (len(chosen) - 1).bit_length()  # a few batch sizes only, as each compiles
        longest = -(-len(waves[chosen[-1]]) // BUCKET) * BUCKET
        padded, lengths = np.zeros((rows, longest), np.float32), np.full(rows, longest, np.int32)
        for row, i in enumerate(chosen):
            padded[row, : len(waves[i])], lengths[row] = waves[i], len(waves[i])
        for i, mel in zip(chosen, np.asarray(log_mel(padded, lengths, bins)), strict=False):
            found[i] = mel[: mel_frames(len(waves[i]))].copy()
    return found


def speech_ids(waves: Sequence[Float[np.ndarray, " _N"]], codec: Codec) -> list[Int32[np.ndarray, " _T"]]:
    """Encodes every wave at 16 kHz, at least one token long, to speech ids."""
    return codec.encode_batch([resampled(wave, RATE, codec.heard_rate) for wave in waves])


def as_heard(turn: Turn, model: Hearing) -> Turn:
    """Returns a user's turn with the wave that the model hears; one with a log-mel has it already.

    A wave that changes loses its speech ids, which belong to the wave before. A model that hears tokens hears those of
    the wave as it is, whatever its front end.
    """
    heard = model.user_audio == "waveform" and turn.role == "user" and turn.mel is None
    if turn.wave is None or not heard or model.front_end == "plain":
        return turn
    return dataclasses.replace(turn, wave=levelled(trimmed(turn.wave)), speech=None)


def add_features(
    conversations: Sequence[Conversation], codec: Codec | None, model: Hearing = Hears()
) -> list[Conversation]:
    """Adds the missing log-mels and speech ids of all waves; equal waves are computed once, and share their arrays.

    Args:
      codec: encodes waves to speech ids; None if no ids are missing.
      model: what is done to users' waves (`as_heard`), and what they get: log-mels or speech ids.

    Raises:
      InputError: speech tokens are missing but there is no codec, or a wave is shorter than one token; names the row.
    """
    conversations = [
        dataclasses.replace(c, turns=tuple(as_heard(turn, model) for turn in c.turns)) for c in conversations
    ]
    heard: dict[int, np.ndarray] = {}  # waves by id of turn
    spoken: dict[int, np.ndarray] = {}
    for conversation in conversations:
        for turn in conversation.turns:
            if turn.wave is None:
                continue
            speech_tokens(conversation.id, turn)
            if turn.role == "user" and model.user_audio == "waveform":
                if turn.mel is None:
                    heard[id(turn)] = turn.wave
            elif turn.speech is None:
                if codec is None:
                    raise InputError(
                        f"row {conversation.id}: the {turn.role} speaks, but there is no codec to encode it with"
                    )
                spoken[id(turn)] = turn.wave
    mel_of = _once(heard, lambda waves: mels(waves, model.mel_bins))
    ids_of = _once(spoken, lambda waves: speech_ids(waves, codec)) if codec is not None else {}

    def fill(turn: Turn) -> Turn:
        if id(turn) in mel_of:
            return dataclasses.replace(turn, mel=mel_of[id(turn)])
        if id(turn) in ids_of:
            return dataclasses.replace(turn, speech=ids_of[id(turn)])
        return turn

    return [dataclasses.replace(c, turns=tuple(map(fill, c.turns))) for c in conversations]


def _once(
    waves: Mapping[int, np.ndarray], compute: Callable[[list[np.ndarray]], list[np.ndarray]]
) -> dict[int, np.ndarray]:
    """Returns the results by the keys of `waves`; equal waves are computed once."""
    digests = {key: hashlib.blake2b(wave.tobytes(), digest_size=16).digest() for key, wave in waves.items()}
    distinct = {digests[key]: wave for key, wave in waves.items()}
    results = dict(zip(distinct, compute(list(distinct.values())), strict=True)) if distinct else {}
    return {key: results[digest] for key, digest in digests.items()}
