"""What running replies carry from step to step: one slot for each (docs/generation.md, "The engine").

Shapes: S slots, n positions of a cache, m most text ids of a reply. A cache place holds the key of the position with
its number, so that a slot needs no table of what is where.
"""

from dataclasses import replace
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from flax.linen.spmd import with_logical_constraint
from jaxtyping import Bool, Float, Int, Key

from fac_jax import axes
from fac_jax.generation.sampling import GREEDY, Sampling, mark
from fac_jax.layers.attention import CacheDims
from fac_jax.models.config import ModelConfig
from fac_jax.models.decoder import empty_caches
from fac_jax.types import Array, InputError, KVCache


@struct.dataclass
class Decoding:
    """How to reply.

    Attributes:
      stream: "text" replies in text only and leaves the refined head out, "joint" in text and speech.
      max_steps: text ids that a reply may have (it sizes the caches; one id is 200 ms of speech).
      text: picking of the text stream.
      speech: picking of the speech stream.
      force_audio_bos: whether the first id of a joint reply is always `audio_bos`.
      feedback: a spoken group is fed back together with its text ("both"), or without it ("speech", single-modal).

    Raises:
      InputError: `max_steps` is below 1.
    """

    stream: Literal["joint", "text"] = struct.field(pytree_node=False, default="joint")
    max_steps: int = struct.field(pytree_node=False, default=64)
    text: Sampling = GREEDY
    speech: Sampling = GREEDY
    force_audio_bos: bool = struct.field(pytree_node=False, default=True)
    feedback: Literal["both", "speech"] = struct.field(pytree_node=False, default="both")

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise InputError(f"decoding: max_steps is {self.max_steps}; give 1 or more")

    @property
    def draws(self) -> bool:
        """Whether an id of either stream is drawn, so that logits are sorted."""
        return any(bool(np.any(np.asarray(stream.temperature) > 0)) for stream in (self.text, self.speech))


@struct.dataclass
class Request:
    """How each slot replies: as `Decoding`, with an array in place of every value.

    Attributes:
      keys: PRNG keys; a draw depends on the key, the stream and the position alone.
      limit: most text ids of the reply.
      joint: whether it speaks; False is a reply in text among others that speak.
      force_audio_bos: whether the first id of a reply that speaks is `audio_bos`.
      speech_alone: whether a spoken group is fed back without its text.
      text: picking of the text stream.
      speech: picking of the speech stream.
    """

    keys: Key[jax.Array, " S"]
    limit: Int[jax.Array, " S"]
    joint: Bool[jax.Array, " S"]
    force_audio_bos: Bool[jax.Array, " S"]
    speech_alone: Bool[jax.Array, " S"]
    text: Sampling
    speech: Sampling


def requests(decoding: Decoding, keys: Key[jax.Array, " S"], limit: Int[Array, "*S"] | int | None = None) -> Request:
    """Returns the same request for every key; `limit` is `decoding.max_steps` if not given, or one for each."""
    rows = len(keys)

    def every(value: bool) -> jax.Array:
        return jnp.full(rows, value)

    return Request(
        keys=keys,
        limit=jnp.broadcast_to(jnp.asarray(decoding.max_steps if limit is None else limit, jnp.int32), (rows,)),
        joint=every(decoding.stream == "joint"),
        force_audio_bos=every(decoding.force_audio_bos),
        speech_alone=every(decoding.feedback == "speech"),
        text=decoding.text.of_rows(rows),
        speech=decoding.speech.of_rows(rows),
    )


@struct.dataclass
class SpeechSlots:
    """State of the refined head, whose caches have G places for each position; absent where nothing speaks.

    Attributes:
      caches: one for each layer of the head.
      last: embedding of the last speech token (`a` in docs/model.md, section 9).
      group: the last group spoken.
      speaking: whether the slot is speaking.
      started: whether a group was spoken in this turn.
      seen: speech ids of the reply.
      ids: the reply's groups in order, speech pad after the end.
      count: number of groups spoken, that of the eos included.
    """

    caches: tuple[KVCache, ...]
    last: Float[jax.Array, "S D"]
    group: Int[jax.Array, "S G"]
    speaking: Bool[jax.Array, " S"]
    started: Bool[jax.Array, " S"]
    seen: Bool[jax.Array, "S C"]
    ids: Int[jax.Array, "S m G"]
    count: Int[jax.Array, " S"]


@struct.dataclass
class Slots:
    """State of running replies.

    Attributes:
      caches: one for each layer of the Shared LLM.
      position: position of the next input, which is the number of those in the caches.
      last: last text id.
      seen: text ids of prompt and reply.
      alive: whether the slot's reply goes on; others compute too, and change nothing.
      ids: text ids of the reply, text pad after the end.
      count: number of text ids of the reply, the eos included.
      request: how the slots reply.
      speech: state of the refined head.
    """

    caches: tuple[KVCache, ...]
    position: Int[jax.Array, " S"]
    last: Int[jax.Array, " S"]
    seen: Bool[jax.Array, "S V"]
    alive: Bool[jax.Array, " S"]
    ids: Int[jax.Array, "S m"]
    count: Int[jax.Array, " S"]
    request: Request
    speech: SpeechSlots | None


@struct.dataclass
class Past:
    """Conversations so far, which prompts continue.

    Attributes:
      caches: one for each layer of the Shared LLM.
      speech_caches: one for each layer of the refined head; none where nothing speaks.
      length: LLM positions that are kept; later places of the caches hold nothing.
      seen: text ids of these positions.
    """

    caches: tuple[KVCache, ...]
    speech_caches: tuple[KVCache, ...]
    length: Int[jax.Array, " R"]
    seen: Bool[jax.Array, "R V"]


def take_past(
    slots: Slots, at: Int[jax.Array, " R"], length: Int[jax.Array, " R"], text_ids: Int[Array, "R P"]
) -> Past:
    """Copies what slots hold of their first `length` positions, into caches of P positions, S's or more.

    `text_ids` are those of these positions, and -1.
    """
    rows, held = len(slots.position), slots.caches[0].k.shape[-2]

    def take(cache: jax.Array) -> jax.Array:
        apart = cache.reshape(rows, -1, *cache.shape[-2:])[at]
        more = (text_ids.shape[1] - held) * cache.shape[-2] // held  # the head has G places for each position
        apart = jnp.pad(apart, ((0, 0), (0, 0), (0, more), (0, 0)))
        return apart if cache.ndim == 4 else apart.reshape(-1, *apart.shape[-2:])

    speech = () if slots.speech is None else slots.speech.caches
    seen = jnp.zeros((len(at), slots.seen.shape[1]), bool)
    return Past(
        caches=jax.tree.map(take, slots.caches),
        speech_caches=jax.tree.map(take, speech),
        length=length,
        seen=mark(seen, jnp.maximum(text_ids, 0), text_ids >= 0),
    )


def empty_speech(config: ModelConfig, rows: int, length: int, max_steps: int, dims: CacheDims) -> SpeechSlots:
    """Slots of the head in which nothing was spoken, for n = `length` LLM positions."""
    c, special = config, config.special
    return SpeechSlots(
        caches=empty_caches(c.head, rows, length * c.group_size, c.dtype, dims),
        last=jnp.zeros((rows, c.text.width), c.dtype),
        group=jnp.full((rows, c.group_size), special.speech_pad, jnp.int32),
        speaking=jnp.zeros(rows, bool),
        started=jnp.zeros(rows, bool),
        seen=jnp.zeros((rows, c.codebook_size), bool),
        ids=jnp.full((rows, max_steps, c.group_size), special.speech_pad, jnp.int32),
        count=jnp.zeros(rows, jnp.int32),
    )


State = TypeVar("State", Slots, Past)


def on_their_devices(slots: State) -> State:
    """Keeps slots where the mesh divides rows, and caches also where it divides heads, in whatever program they are.

    Without it every program would choose for itself, and the next would be compiled anew.
    """

    def kept(leaf: jax.Array) -> jax.Array:
        heads = (axes.KV_HEADS, None, None) if leaf.ndim == 4 else (None,) * (leaf.ndim - 1)
        return with_logical_constraint(leaf, (axes.BATCH, *heads))

    return jax.tree.map(kept, slots)


def insert_slots(slots: Slots, prefix: Slots, at: Int[jax.Array, " R"]) -> Slots:
    """Puts replies that begin, with at most as many cache positions, into slots; R numbers, S for none."""

    def caches(old: tuple[KVCache, ...], new: tuple[KVCache, ...]) -> tuple[KVCache, ...]:
        return jax.tree.map(cache, old, new)

    def cache(old: jax.Array, new: jax.Array) -> jax.Array:
        rows, beginning = len(slots.position), len(prefix.position)
        apart = old.reshape(rows, -1, *old.shape[-2:])  # where heads are merged with rows, they are so in this order
        new = new.reshape(beginning, -1, *new.shape[-2:])
        return apart.at[at, :, : new.shape[2]].set(new, mode="drop").reshape(old.shape)

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[at].set(new, mode="drop")

    def without(state: Slots) -> Slots:
        speech = None if state.speech is None else replace(state.speech, caches=())
        return replace(state, caches=(), speech=speech)

    small = jax.tree.map(put, without(slots), without(prefix))
    speech = small.speech
    if speech is not None and slots.speech is not None and prefix.speech is not None:
        speech = replace(speech, caches=caches(slots.speech.caches, prefix.speech.caches))
    return replace(small, caches=caches(slots.caches, prefix.caches), speech=speech)
