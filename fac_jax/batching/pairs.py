"""Preference pairs as examples on the LLM grid, and as batches: both replies share their prompt's audio."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float32

from fac_jax.batching.collate import collate_packed
from fac_jax.batching.conversation import Conversation, StoredFeatures, prompt
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example, ModelGrid, encode
from fac_jax.codec.base import Codec
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import IGNORE, NO_TASK, PREFERENCE_TASKS, REPLAY, Batch, InputError, PreferenceBatch


@dataclasses.dataclass(frozen=True, eq=False)
class PairExample:
    """A better and a worse reply to one prompt.

    Attributes:
      task: number in `PREFERENCE_TASKS`, or `REPLAY`.
      chosen: prompt and better reply.
      rejected: prompt and worse reply, with the same audios heard.
      reference: log-probabilities of (chosen, rejected) in (text, speech) under the reference; zeros if not scored yet.
    """

    id: str
    task: int
    chosen: Example
    rejected: Example
    reference: Float32[np.ndarray, "2 2"] = dataclasses.field(default_factory=lambda: np.zeros((2, 2), np.float32))

    def __len__(self) -> int:
        """Returns the number of LLM positions of the longer conversation."""
        return max(len(self.chosen), len(self.rejected))

    @property
    def spoken(self) -> bool:
        """Returns whether the replies are spoken."""
        return bool(np.any(self.chosen.speech_labels != IGNORE))

    @property
    def mels(self) -> tuple[Float32[np.ndarray, "_M bins"] | StoredFeatures, ...]:
        """Returns the log-mels of the prompt, once for both replies, or their stored features."""
        return self.chosen.mels

    @property
    def audio_seconds(self) -> float:
        """Returns the seconds of audio in both conversations, heard and spoken."""
        return self.chosen.audio_seconds + self.rejected.audio_seconds


@dataclasses.dataclass(frozen=True, eq=False)
class Pair:
    """A better and a worse reply as conversations of any number of turns.

    Attributes:
      chosen: prompt and better reply, which is the last turn.
      rejected: the same prompt and the worse reply.
    """

    id: str
    task: str
    chosen: Conversation
    rejected: Conversation


def encode_conversation_pairs(
    pairs: Sequence[Pair], tokenizer: Tokenizer, model: ModelGrid, codec: Codec | None
) -> list[PairExample]:
    """Encodes pairs of conversations as pairs of examples, in their order; only the last replies carry loss.

    Args:
      pairs: pairs of conversations; a turn whose speech ids the model takes has them, or a wave that `codec` encodes.
      codec: encodes waves to speech ids; None if no ids are missing.

    Raises:
      InputError: a task that does not exist, or a row that does not fit (`grid.encode`); names it.
    """
    unknown = [pair for pair in pairs if pair.task not in PREFERENCE_TASKS]
    if unknown:
        known = ", ".join(PREFERENCE_TASKS)
        raise InputError(f"row {unknown[0].id}: unknown preference task {unknown[0].task!r}; known: {known}")
    flat = [side for pair in pairs for side in (pair.chosen, pair.rejected)]
    featured = add_features(flat, codec, model)
    filled = [_last_reply(c, tokenizer, model) for c in featured]
    sides = zip(pairs, filled[0::2], filled[1::2], strict=True)
    return [PairExample(pair.id, PREFERENCE_TASKS.index(pair.task), better, worse) for pair, better, worse in sides]


def _last_reply(conversation: Conversation, tokenizer: Tokenizer, model: ModelGrid) -> Example:
    """Encodes a conversation; only its last turn has labels."""
    example = encode(conversation, tokenizer, model)
    said = [turn.role for turn in conversation.turns[:-1]]
    if "assistant" not in said:
        return example
    opened = len(encode(prompt(conversation), tokenizer, model, add_generation_prompt=True))
    labels, speech_labels = example.labels.copy(), example.speech_labels.copy()
    labels[:opened], speech_labels[:opened] = IGNORE, IGNORE
    return dataclasses.replace(example, labels=labels, speech_labels=speech_labels)


def replay(example: Example) -> PairExample:
    """Returns a conversation as a pair without a preference, whose reply is only anchored; it fills both rows."""
    return PairExample(example.id, REPLAY, example, example)


def collate_packed_pairs(
    packed: Sequence[Sequence[PairExample]],
    rows: int,
    seq_len: int,
    windows: int,
    segments: int,
    model: ModelGrid,
    features: int | None = None,
) -> PreferenceBatch:
    """Lays the pairs of a row out one after the other: chosen replies in row 2p, rejected ones in row 2p + 1.

    Args:
      packed: the pairs of every row; at most `rows` rows.
      segments: R, at least the number of pairs of the fullest row.
      features: as of `collate_packed`.

    Raises:
      InputError: the pairs exceed one of the first three; says both numbers.
    """
    sides = [[pair.chosen for pair in row] for row in packed], [[pair.rejected for pair in row] for row in packed]
    chosen, rejected = (collate_packed(side, rows, seq_len, windows, model, features) for side in sides)
    tasks = np.full((rows, segments), NO_TASK, np.int32)
    reference = np.zeros((rows, 2, segments, 2), np.float32)
    for p, row in enumerate(packed):
        for n, pair in enumerate(row):
            tasks[p, n] = pair.task
            reference[p, :, n] = pair.reference
    batch = rows_in_turn(chosen, rejected)
    return PreferenceBatch(batch=batch, tasks=tasks, reference=reference.reshape(2 * rows, segments, 2))


def rows_in_turn(chosen: Batch, rejected: Batch) -> Batch:
    """Returns the rows of both batches in turn, with the windows of the first.

    Both hear the same audios in the same order, so that their gather maps into one set of windows are equal.
    """
    heard: dict[str, Any] = {name: getattr(chosen, name) for name in ("mel_windows", "mel_lengths", "features")}
    sides = [dataclasses.replace(side, **dict.fromkeys(heard)) for side in (chosen, rejected)]
    both = jax.tree.map(lambda a, b: np.stack([a, b], axis=1).reshape(-1, *a.shape[1:]), *sides)
    return dataclasses.replace(both, **heard)
