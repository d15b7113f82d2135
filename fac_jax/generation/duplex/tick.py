"""One LLM position of all calls: the text id of their next slot, and its group of speech ids (docs/duplex.md)."""

import math
from dataclasses import replace
from functools import partial
from typing import TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from einops import rearrange
from jaxtyping import Bool, Float, Float32, Int

from fac_jax.generation.duplex.state import CallState, Keys, Mode, Options, Past, Slot, call_config, head_ring, in_turn
from fac_jax.generation.sampling import fold, mark, pick
from fac_jax.generation.step import fine_step
from fac_jax.layers.attention import Visibility
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.refined_head import fine_positions
from fac_jax.types import Array, Batch, Kind, KVCache

Tree = TypeVar("Tree")


def next_slot(
    model: FunAudioChat, state: CallState, frames: Float[jax.Array, "N G D"], active: Bool[jax.Array, " N"], draws: bool
) -> tuple[CallState, Slot, Float[jax.Array, "N D"]]:
    """Runs the slot that comes, and picks what the calls do in the one after it.

    Args:
      frames: 25 Hz encoder frames of the users' audio of the slot.
      active: rows that run; all others keep their state, and leave no keys in the rings.
      draws: whether an id is drawn (`sampling.pick`).

    Returns:
      the new state, the next slot, and states of the Shared LLM.
    """
    c, config, special = model.config, call_config(model.config), model.config.special
    rows, speaking = jnp.arange(len(active)), in_turn(state.mode)
    batch = position_batch(state, active, c)
    embedded, text = model.embed(batch, rearrange(frames, "n g d -> (n g) d"))

    place = config.sinks + state.tick % config.window
    keys = state.keys.written(place, state.position, active)
    at = state.position[:, None]
    visibility = keys.seen_by(at, active[:, None], c.limits)
    hidden, caches, _ = model.backbone.decoder(embedded, at, visibility, state.caches, place)

    made = state.slots + 1  # as `generation.step` counts, so that a forced turn draws what a reply draws
    text_keys, speech_keys = fold(state.options.keys, 2 * made), fold(state.options.keys, 2 * made + 1)
    scores = text_scores(model.text_logits(hidden[:, 0]), state.mode, state.options, c)
    picked = pick(scores, state.said, text_keys, state.options.text, draws)
    leaves = speaking & (picked == special.audio_eos) & config.masks

    speaker = _Speaker(model, state, active, draws)
    head_caches, head_keys, group, read = speaker.speak(hidden, text, speaking & ~leaves, leaves, speech_keys)
    ended = speaking & (group[:, 0] == special.speech_eos)
    opens = ~speaking & (picked == special.audio_bos)
    mode = jnp.where(
        ended, Mode.CLOSING, jnp.where(speaking, Mode.TALKING, jnp.where(opens, Mode.OPENING, Mode.IDLE))
    ).astype(jnp.int32)
    written = jnp.where(ended, special.audio_eos, picked)
    talks = mode == Mode.TALKING

    def begun(history: Bool[jax.Array, "N V"]) -> Bool[jax.Array, "N V"]:
        return history & ~opens[:, None]

    kept = jnp.where(active, state.slots % state.past.text_ids.shape[1], state.past.text_ids.shape[1])
    new = replace(
        state,
        position=state.position + 1,
        mode=mode,
        text=written,
        group=group,
        slots=made,
        said=mark(begun(state.said), written, talks & (written != special.sil)),
        spoken=mark(begun(state.spoken), group, talks[:, None]),
    )
    new = replace(
        _where(active, new, state),
        tick=state.tick + 1,
        caches=caches,
        keys=keys,
        head_caches=head_caches,
        head_keys=head_keys,
        past=Past(
            state.past.inputs.at[rows, kept].set(embedded[:, 0], mode="drop"),
            state.past.text_ids.at[rows, kept].set(batch.text_ids[:, 0], mode="drop"),
            state.past.read.at[rows, kept].set(read, mode="drop"),
        ),
    )
    slot = Slot(new.text, new.group, new.mode, chance(scores, speaking, c), leaves & (state.text != special.sil))
    return new, slot, hidden[:, 0]


def position_batch(state: CallState, active: Bool[jax.Array, " N"], config: ModelConfig) -> Batch:
    """Lays the slot that comes out as a batch of one position, as training rows do (`duplex.layout`)."""
    rows, group, special = len(active), config.group_size, config.special
    idle, talking = (state.mode == Mode.IDLE)[:, None], (state.mode == Mode.TALKING)[:, None]
    empty = Batch.padding(
        (rows, 1),
        (0, config.audio.mel_frames, config.mel_bins),
        group_size=group,
        pad=special.pad,
        speech_pad=special.speech_pad,
        duplex=True,
    )
    return replace(
        empty,
        text_ids=jnp.where(idle, special.audio, state.text[:, None]),
        kind=jnp.where(idle, Kind.SPEECH, jnp.where(talking, Kind.JOINT, Kind.TEXT)).astype(jnp.int32),
        speech_ids=jnp.where(talking, state.group, special.speech_pad)[:, None],
        has_waveform=idle,
        frame_index=jnp.arange(rows * group, dtype=jnp.int32).reshape(rows, 1, group),
        segment_ids=active[:, None].astype(jnp.int32),
        positions=state.position[:, None],
        beside=~idle,
    )


def text_scores(
    logits: Float32[jax.Array, "N V"], mode: Int[Array, " N"], options: Options, config: ModelConfig
) -> Float32[jax.Array, "N V"]:
    """Hides the text ids that a slot does not allow, and undoes what the weights of the loss did to the others.

    A loss that weights `audio_bos` by w and `sil` by v multiplies the learnt odds of starting by w / v; the same holds
    for `audio_eos` among the ids of a turn, whose weight is 1.
    """
    duplex, special = call_config(config), config.special
    if not duplex.masks:
        return logits
    turn = in_turn(jnp.asarray(mode))
    ids = jnp.arange(logits.shape[-1])
    waits = jnp.isin(ids, jnp.array([special.sil, special.audio_bos]))
    says = ~jnp.isin(ids, jnp.array([special.pad, special.eos, special.audio, special.audio_bos]))
    start = options.start_bias - math.log(duplex.turn_weight / duplex.idle_weight)
    stop = options.stop_bias - math.log(duplex.turn_weight)
    logits = logits.at[:, special.audio_bos].add(start).at[:, special.audio_eos].add(stop)
    return jnp.where(jnp.where(turn[:, None], says, waits), logits, -jnp.inf)


def speech_scores(
    logits: Float32[jax.Array, "N *G C"], options: Options, config: ModelConfig
) -> Float32[jax.Array, "N *G C"]:
    """Undoes what the weight of the group of eos did to its odds in turns, and adds the eagerness to stop.

    A turn ends by either stream, so that both have the eagerness.
    """
    duplex = call_config(config)
    if not duplex.masks:
        return logits
    bias = options.stop_bias - math.log(duplex.edge_weight)
    return logits.at[..., config.special.speech_eos].add(bias.reshape(-1, *[1] * (logits.ndim - 2)))


def chance(
    scores: Float32[jax.Array, "N V"], speaking: Bool[jax.Array, " N"], config: ModelConfig
) -> Float32[jax.Array, " N"]:
    """Returns the probability that an idle call's turn begins, or that a turn ends by its text."""
    log_probs = jax.nn.log_softmax(scores, axis=-1)
    ends, begins = log_probs[:, config.special.audio_eos], log_probs[:, config.special.audio_bos]
    return jnp.exp(jnp.where(speaking, ends, begins))


class _Speaker:
    """The refined head in one slot of all calls."""

    def __init__(self, model: FunAudioChat, state: CallState, active: Bool[jax.Array, " N"], draws: bool) -> None:
        self._model, self._state, self._active, self._draws = model, state, active, draws
        config = call_config(model.config)
        self._place = config.sinks + state.tick % head_ring(config)
        self._keys = state.head_keys.written(self._place, state.position, active)
        self._fine = self._keys.fine(model.config.group_size)

    def speak(
        self,
        hidden: Float[jax.Array, "N 1 D"],
        text: Float[jax.Array, "N 1 D"],
        picks: Bool[jax.Array, " N"],
        leaves: Bool[jax.Array, " N"],
        keys: jax.Array,
    ) -> tuple[tuple[KVCache, ...], Keys, Int[jax.Array, "N G"], Int[jax.Array, "N G"]]:
        """Picks the groups of rows whose turn goes on, and then writes the keys of all rows.

        What the head reads is known for all rows once the groups are picked: one pass over the group writes it as
        training reads it, also where a group ends in eos, and makes a row's keys independent of what others do. Where
        nobody talks this pass is all.

        Args:
          hidden: states of the Shared LLM.
          text: embeddings of the text ids that went in.
          picks: rows whose group is picked.
          leaves: rows whose turn is ended by the text stream.
          keys: of the draws, `[N]`.

        Returns:
          caches, what is in them, speech labels of the next slot, and the speech ids that the head has read.
        """
        c, special = self._model.config, self._model.config.special
        pieces = self._model.refined_head.condition(hidden, text)[:, 0]
        caches, ids = self._picked(pieces, jnp.any(picks & self._active), keys)
        ended = leaves | (picks & jnp.any(ids == special.speech_eos, axis=1))
        group = jnp.where(picks[:, None], ids, special.speech_pad)
        group = jnp.where(ended[:, None], special.speech_eos, group)
        read = jnp.concatenate([self._state.group[:, -1:], group[:, :-1]], axis=1)
        positions = fine_positions(self._state.position[:, None], c.group_size)
        valid = jnp.broadcast_to(self._active[:, None], positions.shape)
        inputs = pieces + self._model.speech_embedder.lookup(read)
        _, caches = self._model.refined_head.decode(
            inputs, positions, self._seen_by(positions, valid), caches, self._place * c.group_size
        )
        return caches, self._keys, group, read

    def _seen_by(self, positions: Int[jax.Array, "N T"], valid: Bool[jax.Array, "N T"]) -> Visibility:
        return self._fine.seen_by(positions, valid, self._model.config.head_limits)

    def _picked(
        self, pieces: Float[jax.Array, "N G D"], some: Bool[jax.Array, ""], keys: jax.Array
    ) -> tuple[tuple[KVCache, ...], Int[jax.Array, "N G"]]:
        """Picks a group for every row, one id after the other, if `some` row wants it."""
        state, model, group = self._state, self._model, self._model.config.group_size

        def one(model: FunAudioChat, carry: tuple) -> tuple:
            j, caches, last, seen, ids = carry
            at = state.position * group + j
            visibility = self._seen_by(at[:, None], self._active[:, None])
            piece = jax.lax.dynamic_index_in_dim(pieces, j, axis=1, keepdims=False)
            picked, caches, seen = fine_step(
                model,
                caches,
                piece + model.speech_embedder.lookup(last),
                (at, visibility, self._place * group + j),
                seen,
                fold(keys, j),
                state.options.speech,
                self._draws,
                partial(speech_scores, options=state.options, config=model.config),
            )
            return j + 1, caches, picked, seen, ids.at[:, j].set(picked)

        step = partial(nn.apply(one, model.clone(parent=None)), {"params": model.variables["params"]})
        begun = (jnp.int32(0), state.head_caches, state.group[:, -1], state.spoken, state.group)
        most = jnp.where(some, group, 0)
        _, caches, _, _, ids = jax.lax.while_loop(lambda carry: carry[0] < most, step, begun)
        return caches, ids


def _where(active: Bool[jax.Array, " N"], new: Tree, old: Tree) -> Tree:
    """Takes the new values of rows that are active; a leaf that is the same in both stays as it is."""

    def chosen(new: jax.Array, old: jax.Array) -> jax.Array:
        return old if new is old else jnp.where(active.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return jax.tree.map(chosen, new, old)
