"""What live calls carry from slot to slot: one place for each (docs/duplex.md, "Runtime").

Shapes: N places, P sinks, W slots of the ring of the Shared LLM, R slots that are kept for a roll-over. A prompt ends
in place P - 1, whatever its length, so that a sink's cache place is its position, and every call's first slot has
position P. The slot of tick n has place P + n mod W in the rings of all calls: one write serves all rows.
"""

import enum
from collections.abc import Mapping
from typing import Final

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Float32, Int, Key

from fac_jax.duplex.ears import Ears, open_ears
from fac_jax.generation.sampling import GREEDY, Sampling
from fac_jax.layers.attention import Visibility
from fac_jax.models.config import ModelConfig
from fac_jax.models.decoder import empty_caches
from fac_jax.models.duplex import DuplexConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import InputError, KVCache

REPLAYED: Final = 150  # slots of a call, 30 s, that a roll-over runs again


class Mode(enum.IntEnum):
    """What a call's place does in a slot."""

    FREE = 0  # there is no call
    IDLE = 1  # the assistant listens
    OPENING = 2  # `audio_bos`
    TALKING = 3
    CLOSING = 4  # `audio_eos`


def in_turn(mode: Int[jax.Array, " N"]) -> Bool[jax.Array, " N"]:
    """Returns where the slot after this one belongs to the assistant's turn, unless the turn ends."""
    return (mode == Mode.OPENING) | (mode == Mode.TALKING)


@struct.dataclass
class Options:
    """How each call is answered.

    Attributes:
      keys: PRNG keys; a draw depends on the key, the stream and the number of the slot in its call.
      start_bias: added to the logit of `audio_bos` while idle, in nats: above 0 the assistant starts more eagerly.
      stop_bias: added to the logit of `audio_eos` in turns, in nats: above 0 it stops more eagerly.
      text: picking of the text stream; the history of its penalty is the turn, without `sil`.
      speech: picking of the speech stream; the history of its penalty is the turn.
    """

    keys: Key[jax.Array, " N"]
    start_bias: Float32[jax.Array, " N"]
    stop_bias: Float32[jax.Array, " N"]
    text: Sampling
    speech: Sampling


def options(
    keys: Key[jax.Array, " N"], config: DuplexConfig, text: Sampling = GREEDY, speech: Sampling = GREEDY
) -> Options:
    """Returns the same options for every key, with the biases of the configuration."""
    rows = len(keys)
    start, stop = (jnp.full(rows, bias, jnp.float32) for bias in (config.start_bias, config.stop_bias))
    return Options(keys, start, stop, text.of_rows(rows), speech.of_rows(rows))


@struct.dataclass
class Keys:
    """What is in each place of a cache.

    Attributes:
      segments: 1 where there is a key of the row's call, 0 where there is none.
      positions: of the keys.
    """

    segments: Int[jax.Array, "N n"]
    positions: Int[jax.Array, "N n"]

    def written(
        self, place: Int[jax.Array, ""], position: Int[jax.Array, " N"], active: Bool[jax.Array, " N"]
    ) -> "Keys":
        """Notes the keys of one position of all rows; a row that is not active leaves no key in its place."""
        return Keys(self.segments.at[:, place].set(active.astype(jnp.int32)), self.positions.at[:, place].set(position))

    def fine(self, group: int) -> "Keys":
        """Returns the same for the caches of the refined head, which have `group` places for each of these."""
        fine = self.positions[..., None] * group + jnp.arange(group)
        return Keys(jnp.repeat(self.segments, group, axis=1), fine.reshape(len(fine), -1))

    def seen_by(
        self, positions: Int[jax.Array, "N T"], valid: Bool[jax.Array, "N T"], limits: Mapping[str, int]
    ) -> Visibility:
        """Returns what queries see: earlier keys of their call, within `ModelConfig.limits` or `head_limits`."""
        sinks, window = limits["sinks"], limits["window"]
        there = valid.astype(jnp.int32)
        return Visibility(there, self.segments, positions, self.positions, sinks=sinks, window=window)


@struct.dataclass
class Past:
    """What the models read in the last R slots of a call, at `slot % R`, so that they can read it again.

    Attributes:
      inputs: of the Shared LLM.
      text_ids: text ids, the audio placeholder where the assistant was idle.
      read: speech ids that the refined head read before each of its G predictions.
    """

    inputs: Float[jax.Array, "N R D"]
    text_ids: Int[jax.Array, "N R"]
    read: Int[jax.Array, "N R G"]


@struct.dataclass
class CallState:
    """State of live calls.

    Attributes:
      tick: ticks so far, which place the slots in the rings.
      ears: the users' audio that the encoder hears again in the next slot.
      caches: one for each layer of the Shared LLM, P + W places.
      keys: what is in them.
      head_caches: one for each layer of the refined head, G places for each LLM position.
      head_keys: what is in them, by LLM positions.
      position: position of the slot that comes.
      mode: what the slot that comes is.
      text: its text id, `sil` where it is idle.
      group: its speech labels: pad where nothing is spoken, all eos where the turn closes.
      slots: slots of the call so far.
      said: text ids of the turn.
      spoken: speech ids of the turn.
      options: how the calls are answered.
      past: for a roll-over.
    """

    tick: Int[jax.Array, ""]
    ears: Ears
    caches: tuple[KVCache, ...]
    keys: Keys
    head_caches: tuple[KVCache, ...]
    head_keys: Keys
    position: Int[jax.Array, " N"]
    mode: Int[jax.Array, " N"]
    text: Int[jax.Array, " N"]
    group: Int[jax.Array, "N G"]
    slots: Int[jax.Array, " N"]
    said: Bool[jax.Array, "N V"]
    spoken: Bool[jax.Array, "N C"]
    options: Options
    past: Past


@struct.dataclass
class Slot:
    """What the calls do in the slot after a tick.

    Attributes:
      text_ids: text id of each.
      groups: speech ids, speech pad where nothing is spoken; the codec speaks those below `ModelConfig.units`.
      mode: values of `Mode`.
      chance: probability, after masks and biases, that the turn begins (of an idle call) or ends (in a turn).
      cut: whether a turn is ended before its text is.
    """

    text_ids: Int[jax.Array, " N"]
    groups: Int[jax.Array, "N G"]
    mode: Int[jax.Array, " N"]
    chance: Float32[jax.Array, " N"]
    cut: Bool[jax.Array, " N"]


def head_ring(config: DuplexConfig) -> int:
    """Returns the slots of the refined head's ring: a window of fine positions begins within a slot, kept whole."""
    return config.head_window + 1


def replayed(config: DuplexConfig) -> int:
    """Returns R, slots that a roll-over can run again; the rings of both models hold them."""
    return min(REPLAYED, config.window, config.head_window)


def call_config(config: ModelConfig) -> DuplexConfig:
    """Returns what a model needs to know of calls.

    Raises:
      InputError: it takes turns only, or hears ids of its codec.
    """
    if config.duplex is None:
        raise InputError("the model takes turns and was not trained for calls: give a duplex checkpoint")
    if config.user_audio == "tokens":
        raise InputError('a call hears waveforms: the model hears its codec\'s ids (user_audio "tokens")')
    return config.duplex


def empty_calls(model: FunAudioChat, places: int) -> CallState:
    """Returns N = `places` free places.

    Raises:
      InputError: the model takes no calls.
    """
    c, config, group = model.config, call_config(model.config), model.config.group_size
    rows, length, fine = places, config.sinks + config.window, config.sinks + head_ring(config)
    keys = jax.vmap(jax.random.key)(jnp.arange(rows))

    def zeros(*shape: int) -> jax.Array:
        return jnp.zeros((rows, *shape), jnp.int32)

    kept = replayed(config)
    return CallState(
        tick=jnp.int32(0),
        ears=open_ears(c, rows, model.kernels.cache),
        caches=empty_caches(c.text, rows, length, c.dtype, model.kernels.cache),
        keys=Keys(zeros(length), zeros(length)),
        head_caches=empty_caches(c.head, rows, fine * group, c.dtype, model.kernels.cache),
        head_keys=Keys(zeros(fine), zeros(fine)),
        position=zeros(),
        mode=zeros(),
        text=zeros(),
        group=_pads(c, rows),
        slots=zeros(),
        said=jnp.zeros((rows, c.vocab_size), bool),
        spoken=jnp.zeros((rows, c.codebook_size), bool),
        options=options(keys, config),
        past=Past(
            inputs=jnp.zeros((rows, kept, c.text.width), c.dtype),
            text_ids=zeros(kept),
            read=jnp.broadcast_to(_pads(c, rows)[:, None], (rows, kept, group)),
        ),
    )


def _pads(config: ModelConfig, rows: int) -> Int[jax.Array, "N G"]:
    return jnp.full((rows, config.group_size), config.special.speech_pad, jnp.int32)
