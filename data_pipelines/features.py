"""Log-mel and speech tokens of many conversations at once, each distinct wave only once."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_pipelines.conversation import Conversation, Turn
from fac_jax.audio.mel import BINS, RATE, log_mel, mel_frames
from fac_jax.codec.base import TOKEN_RATE, Codec
from fac_jax.types import InputError

BATCH = 64  # waves transformed together
BUCKET = 8000  # samples to whose multiples waves are padded: one compilation each


def speech_tokens(row: str, turn: Turn) -> int:
    """Speech tokens (25 Hz) of a turn's audio: of its ids, else `int(25 * seconds)` of its wave.

    Raises:
      InputError: there is not one; names the row.
    """
    tokens = len(turn.speech) if turn.speech is not None else len(turn.wave) * TOKEN_RATE // RATE
    if tokens == 0:
        raise InputError(f"row {row}: the {turn.role}'s audio is shorter than one speech token (40 ms): remove the row")
    return tokens


def mels(waves: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Log-mel float32 `[M, 128]` of every wave float32 `[N]` at 16 kHz, batched by length."""
    order = sorted(range(len(waves)), key=lambda i: len(waves[i]))
    found = [np.empty((0, BINS), np.float32)] * len(waves)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        rows = 1 << (len(chosen) - 1).bit_length()  # a few batch sizes only, as each compiles
        longest = -(-len(waves[chosen[-1]]) // BUCKET) * BUCKET
        padded, lengths = np.zeros((rows, longest), np.float32), np.full(rows, longest, np.int32)
        for row, i in enumerate(chosen):
            padded[row, : len(waves[i])], lengths[row] = waves[i], len(waves[i])
        for i, mel in zip(chosen, np.asarray(log_mel(padded, lengths)), strict=False):
            found[i] = mel[: mel_frames(len(waves[i]))].copy()
    return found


def add_features(tasks: Mapping[str, Sequence[Conversation]], codec: Codec | None) -> dict[str, list[Conversation]]:
    """Adds the log-mel of every user's wave and the speech tokens of every assistant's, where they are missing.

    Args:
      tasks: conversations by any key; equal waves are computed once over all of them, and share their arrays.
      codec: None if no assistant speaks.

    Raises:
      InputError: a reply is spoken but there is no codec, or a wave is shorter than one token; names the row.
    """
    every = [(c.id, turn) for conversations in tasks.values() for c in conversations for turn in c.turns]
    heard = [(i, t) for i, t in every if t.role == "user" and t.wave is not None and t.mel is None]
    spoken = [(i, t) for i, t in every if t.role == "assistant" and t.wave is not None and t.speech is None]
    if spoken and codec is None:
        raise InputError(f"row {spoken[0][0]}: the reply is speech, but there is no codec to encode it")
    for row, turn in heard + spoken:
        speech_tokens(row, turn)
    mel_of = _once(heard, mels)
    ids_of = _once(spoken, codec.encode_batch) if codec is not None else {}

    def fill(turn: Turn) -> Turn:
        if id(turn) in mel_of:
            return dataclasses.replace(turn, mel=mel_of[id(turn)])
        if id(turn) in ids_of:
            return dataclasses.replace(turn, speech=ids_of[id(turn)])
        return turn

    return {
        name: [dataclasses.replace(c, turns=tuple(map(fill, c.turns))) for c in conversations]
        for name, conversations in tasks.items()
    }


def _once(
    turns: Sequence[tuple[str, Turn]], compute: Callable[[list[np.ndarray]], list[np.ndarray]]
) -> dict[int, np.ndarray]:
    """Results by id of turn; a distinct wave is computed once."""
    keys = [hashlib.blake2b(np.ascontiguousarray(turn.wave), digest_size=16).digest() for _, turn in turns]
    distinct = {key: turn.wave for key, (_, turn) in zip(keys, turns, strict=True)}
    results = dict(zip(distinct, compute(list(distinct.values())), strict=True)) if distinct else {}
    return {id(turn): results[key] for key, (_, turn) in zip(keys, turns, strict=True)}
