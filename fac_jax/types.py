"""Pytree dataclasses that travel between the packages of the project.

Letters of shapes: B batch rows, S LLM positions (5 Hz on audio), G speech tokens of a group, T speech tokens (25 Hz),
M mel frames (100 Hz), W encoder windows, D width, N heads, K kv heads, H head dim, V vocabulary, C codebook,
E experts, L layers; P pairs of rows, R replies of a row, F encoder frames of all windows (25 Hz).
"""

import enum
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from flax import struct
from jaxtyping import Bool, Float, Float32, Int32

Array: TypeAlias = jax.Array | np.ndarray  # host arrays before a step, device arrays inside it
Params: TypeAlias = dict[str, Any]
UserAudio: TypeAlias = Literal["waveform", "tokens"]  # what the LLM hears of a user's audio
FrontEnd: TypeAlias = Literal["plain", "levelled"]  # what is done to a user's wave before its features

IGNORE: int = -100  # a label that carries no loss
NO_TEXT: int = -1  # a position whose text stream is empty: its text embedding is zero
PREFERENCE_TASKS: tuple[str, ...] = ("robustness", "instruction", "understanding", "empathy")  # paper, section 2.4
NO_TASK: int = -1  # a place of a preference batch without a pair
REPLAY: int = -2  # a reply that is only anchored, with nothing to prefer it to
NO_FRAME: int = -1  # a 25 Hz frame beyond the end of its audio: its encoder feature is zero


class Kind(enum.IntEnum):
    """What an LLM position carries."""

    TEXT = 0  # one text token
    SPEECH = 1  # one group of speech only (a user's audio)
    JOINT = 2  # one group of speech together with one text token (a spoken reply)


class Moment(enum.IntEnum):
    """What happens in a slot of a call, for metrics of how a model takes turns."""

    NONE = 0  # nothing of the following
    PAUSE = 1  # an idle slot in which a user pauses and goes on afterwards
    CUT = 2  # the closing slot of a turn that the user interrupts
    BACKCHANNEL = 3  # a slot of a turn that goes on under a user's "mm-hm"


@struct.dataclass
class Batch:
    """Conversations placed on the 5 Hz LLM grid, with their audio as encoder windows; every shape is static.

    Attributes:
      text_ids: text stream; at JOINT positions the reply's text (silence-filled), at SPEECH positions the audio
        placeholder id or NO_TEXT.
      kind: values of `Kind`.
      speech_ids: ids of the group at audio positions, the speech pad id elsewhere.
      has_waveform: True where the group's continuous features are used (docs/model.md, section 3).
      frame_index: index into the encoder's 25 Hz frames `[W * n // 2]` (n = `n_window`; frame f of window w is
        `w * (n // 2) + f`), or NO_FRAME.
      segment_ids: 0 is padding; 1, 2, .. number the conversations packed into a row.
      positions: counted from 0 inside every segment.
      labels: text labels, not shifted; IGNORE carries no loss.
      speech_labels: speech labels on the grid, not shifted; IGNORE carries no loss.
      mel_windows: log-mel windows of 2n frames of all audios of the batch, zero beyond `mel_lengths`; of no frames
        where there are `features`.
      mel_lengths: valid mel frames of a window; 0 for a window that only fills the batch up.
      mel_blocks: True for a window that the encoder hears block by block, as a call is heard while it goes on
        (`DuplexConfig.stream`); None where all are heard whole.
      features: stored features of the windows (`AudioEncoder.features`); None where the encoder computes them.
      beside: True where a TEXT or JOINT position also has the user's audio, which `frame_index` finds; None in a batch
        without calls, whose programs are then those of a half-duplex model.
      moments: values of `Moment`, not shifted, as labels are; None as for `beside`.
      parts: number of equal parts into which rows and windows are divided, in order; no row reads a window of another
        part. On a mesh that divides the rows into at most as many shards, no frame has to travel.
    """

    text_ids: Int32[Array, "B S"]
    kind: Int32[Array, "B S"]
    speech_ids: Int32[Array, "B S G"]
    has_waveform: Bool[Array, "B S"]
    frame_index: Int32[Array, "B S G"]
    segment_ids: Int32[Array, "B S"]
    positions: Int32[Array, "B S"]
    labels: Int32[Array, "B S"]
    speech_labels: Int32[Array, "B S G"]
    mel_windows: Float32[Array, "W M mels"]
    mel_lengths: Int32[Array, " W"]
    features: Float[Array, "W F C"] | None = None
    mel_blocks: Bool[Array, " W"] | None = None
    beside: Bool[Array, "B S"] | None = None
    moments: Int32[Array, "B S"] | None = None
    parts: int = struct.field(pytree_node=False, default=1)

    @property
    def window_frames(self) -> int:
        """Returns the number of 25 Hz frames of a window, n // 2."""
        return self.mel_windows.shape[-2] // 4 if self.features is None else self.features.shape[-2]

    @classmethod
    def padding(
        cls,
        shape: tuple[int, int],
        windows: tuple[int, int, int],
        *,
        group_size: int,
        pad: int,
        speech_pad: int,
        duplex: bool = False,
        blocks: bool = False,
    ) -> "Batch":
        """Makes a batch of padding only, in numpy; `shape` is (B, S), `windows` is (W, 2n, mel bins).

        `duplex` says whether there are `beside` and `moments`, as in every batch of a duplex model, and `blocks`
        whether there is `mel_blocks`.
        """
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
            mel_blocks=np.zeros(windows[0], bool) if blocks else None,
            beside=np.zeros(grid, bool) if duplex else None,
            moments=np.full(grid, Moment.NONE, np.int32) if duplex else None,
        )


@struct.dataclass
class PreferenceBatch:
    """Pairs of replies to the same prompts, at most R of them in a row.

    Attributes:
      batch: `2 P` rows; row 2p has the chosen replies, row 2p + 1 the rejected ones of the same pairs in their order.
        The windows hold a prompt's audio once, for both.
      tasks: which of PREFERENCE_TASKS conversation r + 1 of a row belongs to, REPLAY, or NO_TASK for none.
      reference: log-probabilities of each reply's text and speech under the reference model; read where they are
        stored with the rows.
    """

    batch: Batch
    tasks: Int32[Array, "P R"]
    reference: Float32[Array, "2*P R 2"]


@struct.dataclass
class ModelOutput:
    """Result of a forward pass.

    Attributes:
      hidden: states of the Shared LLM after its final norm.
      speech_hidden: states of the refined head in LLM width; fine position iG + j predicts speech label (i + 1)G + j.
        None if the head was not run.
      router: statistics of the mixture-of-experts routers, None for a dense backbone.
      audio_frames: 25 Hz encoder frames of all windows, None for a batch without windows.
    """

    hidden: Float[jax.Array, "B S D"]
    speech_hidden: Float[jax.Array, "B S G D"] | None
    router: "RouterStats | None"
    audio_frames: Float[jax.Array, "F D"] | None = None


@struct.dataclass
class RouterStats:
    """Sums over the unmasked tokens of all MoE layers.

    Attributes:
      picks: how often each expert was picked (every token picks k).
      probs: summed router probability of each expert.
      tokens: number of (token, layer) pairs.
      entropy: summed entropy of the router's distribution, in nats.
    """

    picks: Float32[jax.Array, " E"]
    probs: Float32[jax.Array, " E"]
    tokens: Float32[jax.Array, ""]
    entropy: Float32[jax.Array, ""]


@struct.dataclass
class KVCache:
    """Keys and values of one attention layer: two `[B * K, S_max, H]` arrays (S_max = G * S_max in the head).

    The sequence of one (sample, kv head) is contiguous: a step of decoding multiplies it in place. On a mesh that
    divides samples and kv heads, these two are separate dimensions: `[B, K, S_max, H]`.
    """

    k: Float[jax.Array, "*rows S_max H"]
    v: Float[jax.Array, "*rows S_max H"]


class Terminated(KeyboardInterrupt):
    """Raised after SIGTERM of a scheduler, when everything has been saved."""


class InputError(ValueError):
    """Bad input from a user. The message is one line that names the file, row, key or shape and what to do."""
