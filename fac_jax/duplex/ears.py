"""How the audio encoder hears a user in a call: slot by slot, and nothing of what comes later.

A slot's last frame would hear 2.5 ms of the next slot; it hears the mirrored edge of its own in their place, as at the
end of a clip. The range of the log-mel, which the loudest bin of a whole clip sets in half-duplex, follows the loudest
bin of the last 30 seconds, and is never below `DuplexConfig.loudest_floor`.

"slide" encodes, for every slot, the trailing window of the call up to it as a clip of its own, and keeps the frames of
the slot: exactly what a half-duplex model hears of that clip. "block" encodes every slot once: in windows that follow
each other, the positions of a slot hear the slots before it in the window, whose keys and values are kept. An encoder
has to be trained for it (`Batch.mel_blocks`).

Each has a form for whole recordings, for training, and one for the next slot of many calls, `hear`; they agree. Shapes:
R recordings, N calls, t slots, K slots of an encoder window, C width of the encoder.
"""

import dataclasses
from collections.abc import Sequence
from typing import Final

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from flax import struct
from jaxtyping import Bool, Float, Float32, Int

from fac_jax.audio.mel import HOP, QUIETEST, RATE, WINDOW, host_log_power, in_range, log_power
from fac_jax.duplex.call import GROUP, SLOT, SLOT_FRAMES
from fac_jax.layers.attention import MERGED, CacheDims
from fac_jax.models.audio_encoder import BEFORE
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Array, KVCache

LOUDEST_SLOTS: Final = 30 * RATE // SLOT  # whose loudest bin counts
EDGE: Final = -(-(WINDOW // 2) // HOP)  # frames whose samples a slot's first frame hears before it
SILENCE: Final = float(np.log10(QUIETEST))
QUIET: Final = 5.0  # percentile of the clips' loudest bins that is the least loudness
CHUNK: Final = 32  # windows of recordings that are encoded at a time


@struct.dataclass
class Ears:
    """What calls have heard so far; a call that begins is all zeros.

    Attributes:
      heard: number of slots.
      maxima: loudest bin of each of the last slots, log10 of mel power above `SILENCE`.
      samples: the last samples; "slide" keeps a window, of which the first slots are valid before it is full.
      edge: log-mel of the last two frames; none in "slide".
      caches: keys and values of the window, one for each layer of the encoder; none in "slide".
    """

    heard: Int[jax.Array, " N"]
    maxima: Float32[jax.Array, "N t"]
    samples: Float32[jax.Array, "N s"]
    edge: Float32[jax.Array, "N f bins"]
    caches: tuple[KVCache, ...] = ()


def window_slots(config: ModelConfig) -> int:
    """Returns K, the slots of an encoder window."""
    return config.audio.mel_frames // SLOT_FRAMES


def open_ears(config: ModelConfig, calls: int, dims: CacheDims = MERGED) -> Ears:
    """Makes the state of N calls that begin.

    Args:
      config: of a duplex model.
      dims: dimensions of the caches (`layers.kernels.Kernels.cache`).
    """
    assert config.duplex is not None
    audio, slide = config.audio, config.duplex.stream == "slide"
    rows = (calls * audio.num_heads,) if dims == MERGED else (calls, audio.num_heads)
    shape = (*rows, audio.n_window, audio.width // audio.num_heads)

    def cache() -> KVCache:  # of its own buffers, as a program that is given the state takes them
        return KVCache(jnp.zeros(shape, config.dtype), jnp.zeros(shape, config.dtype))

    return Ears(
        heard=jnp.zeros(calls, jnp.int32),
        maxima=jnp.zeros((calls, LOUDEST_SLOTS), jnp.float32),
        samples=jnp.zeros((calls, window_slots(config) * SLOT if slide else EDGE * HOP), jnp.float32),
        edge=jnp.zeros((calls, 0 if slide else BEFORE, audio.mel_bins), jnp.float32),
        caches=() if slide else tuple(cache() for _ in range(audio.depth)),
    )


def begin(ears: Ears, rows: Bool[Array, " N"]) -> Ears:
    """Lets the calls of some rows begin; what they held before is not heard."""
    kept = ~jnp.asarray(rows)
    return dataclasses.replace(ears, heard=ears.heard * kept, maxima=ears.maxima * kept[:, None])


def hear(
    model: FunAudioChat, ears: Ears, samples: Float[Array, "N s"], active: Bool[Array, " N"]
) -> tuple[Ears, Float[jax.Array, "N G D"]]:
    """Hears the next slot of calls.

    Args:
      model: a duplex model that is bound to its parameters; in the form of generation for "block".
      samples: a slot of every call at 16 kHz.
      active: calls that hear it; the state of the others stays, and what they get means nothing.

    Returns:
      the new state, and the encoder's 25 Hz frames of the slot in the width of the LLM.
    """
    config, active = model.config, jnp.asarray(active)
    assert config.duplex is not None
    samples = jnp.asarray(samples, jnp.float32)
    step = _slide if config.duplex.stream == "slide" else _block
    new, features = step(model, ears, samples)

    def kept(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(active.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    # The caches of an idle call have a place overwritten that its next slot writes anew.
    small = jax.tree.map(kept, dataclasses.replace(new, caches=()), dataclasses.replace(ears, caches=()))
    return dataclasses.replace(small, caches=new.caches), model.encoder.project(features)


def _slide(model: FunAudioChat, ears: Ears, samples: jax.Array) -> tuple[Ears, jax.Array]:
    slots = window_slots(model.config)
    full, last = (ears.heard >= slots)[:, None], jnp.minimum(ears.heard, slots - 1)
    held = rearrange(ears.samples, "n (k s) -> n k s", k=slots)
    joined = jnp.concatenate([held, samples[:, None]], axis=1)
    place = jnp.arange(slots)
    source = jnp.where(place == last[:, None], slots, place + full)  # a full window moves by one slot
    clips = rearrange(jnp.take_along_axis(joined, source[..., None], axis=1), "n k s -> n (k s)")
    log = log_power(clips, (last + 1) * SLOT, model.config.mel_bins)
    own = jnp.take_along_axis(rearrange(log, "n (k f) b -> n k (f b)", k=slots), last[:, None, None], axis=1)
    maxima, loudest = _louder(model.config, ears, own[:, 0])
    features = _last_frames(model, in_range(log, loudest[:, None, None]), last)
    return dataclasses.replace(ears, heard=ears.heard + 1, maxima=maxima, samples=clips), features


def _block(model: FunAudioChat, ears: Ears, samples: jax.Array) -> tuple[Ears, jax.Array]:
    before = jnp.where((ears.heard == 0)[:, None], _mirrored(samples), ears.samples)
    joined = jnp.concatenate([before, samples], axis=1)
    log = _powers(joined, model.config.mel_bins)
    maxima, loudest = _louder(model.config, ears, rearrange(log, "n f b -> n (f b)"))
    mel = in_range(log, loudest[:, None, None])
    place = ears.heard % window_slots(model.config)
    features, caches = model.encoder.hear(jnp.concatenate([ears.edge, mel], axis=1), place, ears.caches)
    return Ears(ears.heard + 1, maxima, joined[:, -before.shape[1] :], mel[:, -BEFORE:], caches), features


def _louder(
    config: ModelConfig, ears: Ears, own: Float[jax.Array, "N b"]
) -> tuple[Float[jax.Array, "N t"], Float[jax.Array, " N"]]:
    """Adds the loudest bin of a slot to the last ones; returns them, and the loudest that counts."""
    assert config.duplex is not None
    maxima = jnp.concatenate([ears.maxima[:, 1:], jnp.max(own, axis=1, keepdims=True) - SILENCE], axis=1)
    return maxima, jnp.maximum(jnp.max(maxima, axis=1) + SILENCE, config.duplex.loudest_floor)


def _last_frames(
    model: FunAudioChat, mel: Float[jax.Array, "N f bins"], last: Int[jax.Array, " N"]
) -> Float[jax.Array, "N G C"]:
    """Encodes trailing windows, in each of which slot number `last` is the last one; returns the features of it."""
    features = model.encoder.features(mel, (last + 1) * SLOT_FRAMES)
    index = last[:, None] * GROUP + jnp.arange(GROUP)
    return jnp.take_along_axis(features, index[..., None], axis=1)


def _mirrored(samples: Float[jax.Array, "*rows s"]) -> Float[jax.Array, "*rows e"]:
    """Returns the samples before the first slot of a call: its own, mirrored at the first."""
    return samples[..., EDGE * HOP : 0 : -1]


def _powers(samples: Float[jax.Array, "*rows s"], bins: int) -> Float[jax.Array, "*rows f {bins}"]:
    """Computes the log powers of a slot, from its samples and those before it."""
    lengths = jnp.full(samples.shape[:-1], samples.shape[-1], jnp.int32)
    return log_power(samples, lengths, bins)[..., EDGE:, :]


def recorded_powers(waves: Float[Array, "R s"], bins: int) -> Float[jax.Array, "R t f {bins}"]:
    """Computes log10 of the mel power of recordings of whole slots at 16 kHz, as each slot hears its own frames."""
    waves = jnp.asarray(waves, jnp.float32)
    before = EDGE * HOP
    joined = jnp.concatenate([_mirrored(waves[:, :SLOT]), waves], axis=1)
    index = jnp.arange(0, waves.shape[1], SLOT)[:, None] + jnp.arange(before + SLOT)
    return _powers(joined[:, index], bins)


def recorded_loudest(powers: Float[jax.Array, "R t f bins"], floor: float) -> Float[jax.Array, "R t"]:
    """Returns the loudness that sets the range in every slot: the running maximum of 30 seconds, at least `floor`."""
    maxima = jnp.max(powers, axis=(2, 3))
    last = ((0, 0), (LOUDEST_SLOTS - 1, 0))
    running = jax.lax.reduce_window(maxima, -jnp.inf, jax.lax.max, (1, LOUDEST_SLOTS), (1, 1), last)
    return jnp.maximum(running, floor)


def recorded_mel(waves: Float[Array, "R s"], bins: int, floor: float) -> Float[jax.Array, "R f {bins}"]:
    """Computes the log-mel of recordings of whole slots, every slot in the range that it has while it is heard.

    "block" hears it in windows. Windows of it that are heard whole are the bound that no call can reach.
    """
    powers = recorded_powers(waves, bins)
    mel = in_range(powers, recorded_loudest(powers, floor)[..., None, None])
    return rearrange(mel, "r t f b -> r (t f) b")


def trailing_mel(
    waves: Float[Array, "R s"], slots: Int[Array, " n"], loudest: Float[Array, "R t"], window: int, bins: int
) -> Float[jax.Array, "R n f {bins}"]:
    """Computes the log-mels of the trailing windows of some slots of recordings.

    Args:
      waves: whole slots at 16 kHz.
      slots: numbers of the slots.
      loudest: of every slot (`recorded_loudest`).
      window: K, slots of a window.

    Returns:
      K slots of frames, of which the first `20 * min(slot + 1, K)` are valid.
    """
    waves, slots = jnp.asarray(waves, jnp.float32), jnp.asarray(slots)
    count = jnp.minimum(slots + 1, window)
    index = ((slots + 1 - count) * SLOT)[:, None] + jnp.arange(window * SLOT)
    clips = jnp.take(waves, index, axis=1, mode="clip")
    log = log_power(clips, jnp.broadcast_to(count * SLOT, clips.shape[:2]), bins)
    return in_range(log, jnp.asarray(loudest)[:, slots, None, None])


def slide_features(model: FunAudioChat, waves: Float[Array, "R s"]) -> Float[jax.Array, "R t G C"]:
    """Computes the features of recordings of whole slots as "slide" hears them, to be stored (`slide_windows`).

    `model` is bound to its parameters. A recording that is filled up with silence has the features of the recording.
    """
    config = model.config
    assert config.duplex is not None
    window, slots = window_slots(config), waves.shape[1] // SLOT
    loudest = recorded_loudest(recorded_powers(waves, config.mel_bins), config.duplex.loudest_floor)

    def encoded(numbers: jax.Array) -> jax.Array:
        mel = trailing_mel(waves, numbers, loudest, window, config.mel_bins)
        last = jnp.tile(jnp.minimum(numbers, window - 1), len(mel))
        features = _last_frames(model, rearrange(mel, "r n f b -> (r n) f b"), last)
        return rearrange(features, "(r n) g c -> n r g c", r=len(mel))

    parts = -(-slots // CHUNK)
    numbers = jnp.minimum(jnp.arange(parts * CHUNK), slots - 1).reshape(parts, CHUNK)
    found = jax.lax.map(encoded, numbers)
    return rearrange(found, "p n r g c -> r (p n) g c")[:, :slots]


def slide_windows(features: Float[np.ndarray, "t G C"], window: int) -> Float[np.ndarray, "W F C"]:
    """Lays the features of a recording's slots out as windows of K = `window` slots, the last filled with zeros."""
    slots, group, width = features.shape
    filled = np.zeros((-(-slots // window) * window, group, width), features.dtype)
    filled[:slots] = features
    return filled.reshape(-1, window * group, width)


def quiet_maximum(waves: Sequence[Float[np.ndarray, " _N"]], bins: int) -> float:
    """Returns the least loudness of a model (`DuplexConfig.loudest_floor`) from the clips that it is trained on.

    It is the fifth percentile of the clips' loudest bins, log10 of mel power. The clips are at 16 kHz.
    """
    return float(np.percentile([host_log_power(wave, bins).max(initial=SILENCE) for wave in waves], QUIET))
