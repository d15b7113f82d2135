"""Pytree dataclasses that travel between the floors of the project.

Legend of shapes: B batch rows, S LLM positions (5 Hz on audio), G speech tokens of a group, T speech tokens (25 Hz),
M mel frames (100 Hz), W encoder windows, D width, N heads, K kv heads, H head dim, V vocabulary, C codebook,
E experts, L layers.
"""

import enum
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from flax import struct

Array: TypeAlias = jax.Array | np.ndarray
Params: TypeAlias = dict[str, Any]
UserAudio: TypeAlias = Literal["waveform", "tokens"]  # what the LLM hears of a user's audio

IGNORE: int = -100  # a label that carries no loss
NO_TEXT: int = -1  # a position whose text stream is empty: its text embedding is zero
PREFERENCE_TASKS: tuple[str, ...] = ("robustness", "instruction", "understanding", "empathy")  # paper, section 2.4
NO_TASK: int = -1  # a place of a preference batch without a pair
REPLAY: int = -2  # a reply that is anchored alone, with nothing to prefer it to
NO_FRAME: int = -1  # a 25 Hz frame beyond the end of its audio: its encoder feature is zero


class Kind(enum.IntEnum):
    """What an LLM position carries."""

    TEXT = 0  # one text token
    SPEECH = 1  # one group of speech alone (a user's audio)
    JOINT = 2  # one group of speech and one text token beside it (a spoken reply)


@struct.dataclass
class Batch:
    """Conversations laid on the 5 Hz LLM grid, with their audio as encoder windows; every shape is static.

    Attributes:
      text_ids: int32 `[B, S]`. Text stream: at JOINT positions the reply's text (silence-filled), at SPEECH positions
        the audio placeholder id or NO_TEXT.
      kind: int32 `[B, S]`, values of `Kind`.
      speech_ids: int32 `[B, S, G]`. Ids of the group at audio positions, the speech pad id elsewhere.
      has_waveform: bool `[B, S]`. True where the group's continuous features are to be used (model.md section 3).
      frame_index: int32 `[B, S, G]`. Gather map into the encoder's 25 Hz frames `[W * n // 2]` (n = `n_window`; frame f
        of window w is `w * (n // 2) + f`), or NO_FRAME.
      segment_ids: int32 `[B, S]`. 0 is padding; 1, 2, .. number the conversations packed into a row.
      positions: int32 `[B, S]`. Counted from 0 inside every segment.
      labels: int32 `[B, S]`. Text labels, not shifted; IGNORE carries no loss.
      speech_labels: int32 `[B, S, G]`. Speech labels on the grid, not shifted; IGNORE carries no loss.
      mel_windows: float32 `[W, 2n, 128]`. Log-mel windows of all audios of the batch, zero beyond `mel_lengths`.
      mel_lengths: int32 `[W]`. Valid mel frames of a window; 0 for a window that only fills the budget.
      parts: rows and windows lie in so many equal parts, in order, and no row reads a window of another part. On a mesh
        that cuts the rows into no more shards, no frame has to travel.
    """

    text_ids: Array
    kind: Array
    speech_ids: Array
    has_waveform: Array
    frame_index: Array
    segment_ids: Array
    positions: Array
    labels: Array
    speech_labels: Array
    mel_windows: Array
    mel_lengths: Array
    parts: int = struct.field(pytree_node=False, default=1)

    @classmethod
    def padding(
        cls, shape: tuple[int, int], windows: tuple[int, int, int], *, group_size: int, pad: int, speech_pad: int
    ) -> "Batch":
        """Padding alone, in numpy; `shape` is (B, S), `windows` is (W, 2n, mel bins)."""
        grid, fine = shape, (*shape, group_size)
        return cls(
            text_ids=np.full(grid, pad, np.int32),
            kind=np.full(grid, Kind.TEXT, np.int32),
            speech_ids=np.full(fine, speech_pad, np.int32),
            has_waveform=np.zeros(grid, bool),
            frame_index=np.full(fine, NO_FRAME, np.int32),
            segment_ids=np.zeros(grid, np.int32),
            positions=np.zeros(grid, np.int32),
            labels=np.full(grid, IGNORE, np.int32),
            speech_labels=np.full(fine, IGNORE, np.int32),
            mel_windows=np.zeros(windows, np.float32),
            mel_lengths=np.zeros(windows[0], np.int32),
        )


@struct.dataclass
class PreferenceBatch:
    """Pairs of replies to the same prompts; N conversations at most lie in a row.

    Attributes:
      batch: `2 P` rows; row 2p has the chosen replies, row 2p + 1 the rejected ones of the same pairs in their order.
        A prompt's audio lies in the windows once, for both.
      tasks: int32 `[P, N]`. Which of PREFERENCE_TASKS conversation n + 1 of a row belongs to, REPLAY, or
        NO_TASK for none.
      reference: float32 `[2 P, N, 2]`. Log-probabilities of each reply's text and speech under the reference; read
        where they are stored with the rows.
    """

    batch: Batch
    tasks: Array
    reference: Array


@struct.dataclass
class ModelOutput:
    """What a forward pass gives.

    Attributes:
      hidden: `[B, S, D]`. Shared LLM state after its final norm.
      speech_hidden: `[B, S, G, D]`. Refined-head state in LLM width; fine position iG + j predicts speech label
        (i + 1)G + j. None when the head was not run.
      router: statistics of the mixture-of-experts routers, None for a dense backbone.
      audio_frames: `[W * n // 2, D]`. 25 Hz encoder frames of all windows, None for a batch without any.
    """

    hidden: Array
    speech_hidden: Array | None
    router: "RouterStats | None"
    audio_frames: Array | None = None


@struct.dataclass
class RouterStats:
    """Sums over the unmasked tokens of all MoE layers, float32.

    Attributes:
      picks: `[E]`. How often each expert was picked (every token picks k).
      probs: `[E]`. Summed router probability.
      tokens: scalar. Number of (token, layer) pairs.
      entropy: scalar. Summed entropy of the router's distribution, in nats.
    """

    picks: Array
    probs: Array
    tokens: Array
    entropy: Array


@struct.dataclass
class KVCache:
    """Keys and values of one attention layer: two `[B * K, S_max, H]` arrays (S_max = G * S_max in the head).

    Sequences of one (sample, kv head) are whole and at the outside: a step of decoding multiplies them where they lie.
    Where a mesh cuts samples and kv heads, these stay apart: `[B, K, S_max, H]`.
    """

    k: Array
    v: Array


class Terminated(KeyboardInterrupt):
    """A scheduler's SIGTERM; everything is saved."""


class InputError(ValueError):
    """Bad input from outside. The message is one line that names the file, row, key or shape and what to do."""
