"""Joint generation of text and speech as one compiled program (docs/model.md, section 9)."""

from dataclasses import replace
from functools import partial
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Bool, Float, Int, Key

from fac_jax import axes
from fac_jax.generation.prefill import Reply, SpeechState, State, at_position, pad_slots, prefill_head
from fac_jax.generation.sampling import GREEDY, Sampling, fold, mark, pick
from fac_jax.layers.attention import Visibility
from fac_jax.layers.linear import by_rows
from fac_jax.models.config import ModelConfig
from fac_jax.models.decoder import empty_caches, unstack_layers
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.kernels import decoding_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.types import Batch, InputError, Params


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


@partial(jax.jit, static_argnames=("model", "layout"))
def generate(
    model: FunAudioChat,
    params: Params,
    prompt: Batch,
    keys: Key[jax.Array, " B"],
    limit: Int[jax.Array, ""],
    decoding: Decoding,
    layout: Layout | None = None,
) -> Reply:
    """Replies to a batch of prompts.

    Args:
      model: a model with `scan_layers=False`.
      params: its parameters; model and parameters are those of `prepare`.
      prompt: prompts up to and including the assistant's header, one segment a row, padded on either side.
      keys: one PRNG key for each prompt.
      limit: text ids that a reply may have, at most `decoding.max_steps`.
      layout: mesh on which the parameters and the prompts are; None for one device.
    """
    apply = nn.apply(_generate, model)
    return (apply if layout is None else layout.inside(apply))({"params": params}, prompt, keys, limit, decoding)


def _generate(
    model: FunAudioChat, prompt: Batch, keys: Key[jax.Array, " B"], limit: Int[jax.Array, ""], decoding: Decoding
) -> Reply:
    state = _start(model, prompt, keys, limit, decoding)
    # A bound method inside `nn.while_loop` would be lifted variable by variable; parameters are constants here.
    apply_step, variables = nn.apply(_step, model.clone(parent=None)), {"params": model.variables["params"]}

    def running(state: State) -> jax.Array:
        return (state.step < limit) & ~jnp.all(state.finished)

    def step(state: State) -> State:
        return apply_step(variables, state, decoding)

    state = jax.lax.while_loop(running, step, state)
    speech_ids, speech_count = (None, None) if state.speech is None else (state.speech.ids, state.speech.count)
    return Reply(state.ids, state.count, speech_ids, speech_count)


def _start(
    model: FunAudioChat, prompt: Batch, keys: Key[jax.Array, " B"], limit: Int[jax.Array, ""], decoding: Decoding
) -> State:
    """Runs the prompt and picks the first text id."""
    c, special, rows = model.config, model.config.special, prompt.text_ids.shape[0]
    slots = prompt.text_ids.shape[1] + decoding.max_steps
    embedded, text = model.embed(prompt, model.audio_frames(prompt))
    segments, positions = pad_slots(prompt.segment_ids, slots), pad_slots(prompt.positions, slots)
    visibility = Visibility(prompt.segment_ids, segments, prompt.positions, positions)
    caches = empty_caches(c.text, rows, slots, c.dtype, model.kernels.cache)
    hidden, caches, _ = model.backbone.decoder(embedded, prompt.positions, visibility, caches, 0)
    length = jnp.sum(prompt.segment_ids, axis=1)
    last_hidden = at_position(hidden, prompt.positions, prompt.segment_ids, length - 1)
    seen = mark(jnp.zeros((rows, c.vocab_size), bool), prompt.text_ids, prompt.segment_ids > 0)
    joint = decoding.stream == "joint"
    if joint and decoding.force_audio_bos:
        first = jnp.full((rows,), special.audio_bos, jnp.int32)
    else:
        first = pick(model.text_logits(last_hidden), seen, fold(keys, 0), decoding.text)
    speech = None
    if joint:
        speech = prefill_head(model, prompt, hidden, text, fold(keys, 1), decoding.speech, decoding.max_steps)
    any_step = limit > 0
    ids = jnp.full((rows, decoding.max_steps), special.pad, jnp.int32)
    return State(
        step=jnp.minimum(jnp.int32(1), limit),
        caches=caches,
        segments=segments,
        positions=positions,
        length=length,
        last=first,
        seen=mark(seen, first, jnp.ones_like(first, bool)),
        finished=first == special.eos,
        ids=ids.at[:, 0].set(jnp.where(any_step, first, special.pad)),
        count=jnp.broadcast_to(any_step, (rows,)).astype(jnp.int32),
        keys=keys,
        speech=speech,
    )


def _step(model: FunAudioChat, state: State, decoding: Decoding) -> State:
    """Runs one LLM step and, in a joint reply, the G fine steps of its group."""
    special = model.config.special
    rows = state.last.shape[0]
    text = model.embed_text(state.last)
    x, speech = text, state.speech
    if speech is not None:
        starts = (state.last == special.audio_bos) & ~speech.speaking
        speech = replace(speech, speaking=speech.speaking | starts, started=speech.started & ~starts)
        groups = model.speech_embedder.group(speech.group[:, None])[:, 0]
        spoken = groups if decoding.feedback == "speech" else model.join(text, groups)
        x = jnp.where((speech.speaking & speech.started)[:, None], spoken, text)

    slot = state.segments.shape[1] - decoding.max_steps + state.step - 1
    position = state.length + state.step - 1
    segments = state.segments.at[:, slot].set(1)
    positions = state.positions.at[:, slot].set(position)
    visibility = Visibility(jnp.ones((rows, 1), jnp.int32), segments, position[:, None], positions)
    hidden, caches, _ = model.backbone.decoder(x[:, None], position[:, None], visibility, state.caches, slot)

    picked = pick(model.text_logits(hidden[:, 0]), state.seen, fold(state.keys, 2 * state.step), decoding.text)
    written = picked
    if speech is not None:
        keys = fold(state.keys, 2 * state.step + 1)
        speech, group = _speak(model, speech, hidden, text[:, None], position, state.step, keys, decoding)
        speech, ended = _append(model, speech, group, ~state.finished)
        written = jnp.where(ended, special.audio_eos, picked)
    written = jnp.where(state.finished, special.pad, written)
    return replace(
        state,
        step=state.step + 1,
        caches=caches,
        segments=segments,
        positions=positions,
        last=written,
        seen=mark(state.seen, written, ~state.finished),
        finished=state.finished | (picked == special.eos),
        ids=state.ids.at[:, state.step].set(written),
        count=state.count + ~state.finished,
        speech=speech,
    )


def _speak(
    model: FunAudioChat,
    speech: SpeechState,
    hidden: Float[jax.Array, "B 1 D"],
    text: Float[jax.Array, "B 1 D"],
    position: Int[jax.Array, " B"],
    step: Int[jax.Array, ""],
    keys: Key[jax.Array, " B"],
    decoding: Decoding,
) -> tuple[SpeechState, Int[jax.Array, "B G"]]:
    """Runs the G fine steps of one LLM state; returns the new state and the group."""
    c = model.config
    group, rows = c.group_size, position.shape[0]
    pieces = jnp.moveaxis(model.refined_head.condition(hidden, text)[:, 0], 1, 0)
    first_slot = speech.segments.shape[1] - (decoding.max_steps - step + 1) * group
    new = jax.lax.dynamic_update_slice
    segments = new(speech.segments, jnp.ones((rows, group), jnp.int32), (0, first_slot))
    fine = position[:, None] * group + jnp.arange(group)
    positions = new(speech.positions, fine, (0, first_slot))
    pad_row = model.speech_embedder.lookup(jnp.full((rows,), c.special.speech_pad, jnp.int32))
    feed_back = speech.speaking | (c.head_prefill == "release")

    def one(model: FunAudioChat, carry: tuple, j: jax.Array) -> tuple[tuple, jax.Array]:
        caches, last, seen = carry
        at = position[:, None] * group + j
        visibility = Visibility(jnp.ones((rows, 1), jnp.int32), segments, at, positions)
        out, caches = model.refined_head.decode((pieces[j] + last)[:, None], at, visibility, caches, first_slot + j)
        ids = pick(model.speech_logits(out[:, 0]), seen, fold(keys, j), decoding.speech)
        last = jnp.where(feed_back[:, None], model.speech_embedder.lookup(ids), pad_row)
        return (caches, last, mark(seen, ids, jnp.ones_like(ids, bool))), ids

    fine_step = partial(nn.apply(one, model.clone(parent=None)), {"params": model.variables["params"]})
    (caches, last, _), ids = jax.lax.scan(fine_step, (speech.caches, speech.last, speech.seen), jnp.arange(group))
    return replace(speech, caches=caches, segments=segments, positions=positions, last=last), ids.T


def _append(
    model: FunAudioChat, speech: SpeechState, group: Int[jax.Array, "B G"], alive: Bool[jax.Array, " B"]
) -> tuple[SpeechState, Bool[jax.Array, " B"]]:
    """Adds a group to the replies of samples that speak; returns the new state and whether speech ended."""
    eos = model.config.special.speech_eos
    speaks = speech.speaking & alive
    ended = speaks & jnp.any(group == eos, axis=1)
    group = jnp.where(ended[:, None], eos, group)
    rows = jnp.arange(group.shape[0])
    row = jnp.where(speaks, speech.count, speech.ids.shape[1])
    speech = replace(
        speech,
        group=jnp.where(speaks[:, None], group, speech.group),
        ids=speech.ids.at[rows, row].set(group, mode="drop"),
        count=speech.count + speaks,
        seen=mark(speech.seen, group, speaks[:, None]),
        started=(speech.started | speaks) & ~ended,
        speaking=speech.speaking & ~ended,
    )
    return speech, ended


def prepare(config: ModelConfig, params: Params, layout: Layout | None = None) -> tuple[FunAudioChat, Params]:
    """Prepares a trained model for `generate`: unstacked layers, kernels by rows, attention for its devices.

    Raises:
      InputError: the mesh divides rows by positions, of which a step has only one.
    """
    if layout is not None and layout.shards(axes.LENGTH) > 1:
        raise InputError("generation has no use for the mesh axis context: a step has one position; give it size 1")
    backbone, head = params["backbone"], params["refined_head"]
    stepped = {
        "backbone": {**backbone, "decoder": unstack_layers(backbone["decoder"], config.text)},
        "refined_head": {**head, "decoder": unstack_layers(head["decoder"], config.head)},
        "speech_embedder": params["speech_embedder"],
    }
    params = {**params, **by_rows(stepped)}
    return FunAudioChat(replace(config, scan_layers=False, remat="none"), decoding_kernels(layout)), params
