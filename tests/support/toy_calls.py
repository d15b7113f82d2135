"""A tiny duplex model with random weights, its calls slot by slot, and the training row of what a call did."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from initial import initial_params
from toy_training import MODEL

from fac_jax.duplex.call import SLOT
from fac_jax.duplex.ears import hear, slide_features, slide_windows, window_slots
from fac_jax.generation.duplex.programs import extend, join
from fac_jax.generation.duplex.side import CHUNK, Side, empty_side, text_chunk
from fac_jax.generation.duplex.state import CallState, Mode, Options, Slot, empty_calls
from fac_jax.generation.duplex.tick import next_slot
from fac_jax.generation.prepared import prepare
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import IGNORE, Batch, Kind, Params

SINKS, WINDOW, HEAD_WINDOW = 10, 8, 4
# Both biases make up for what the weights of the loss did, so that a model with random weights starts and stops.
DUPLEX = DuplexConfig(
    sinks=SINKS, loudest_floor=-4.0, window=WINDOW, head_window=HEAD_WINDOW, start_bias=2.8, stop_bias=3.0
)
CONFIG = replace(MODEL, duplex=DUPLEX)


@dataclasses.dataclass(frozen=True)
class Toy:
    """A model as it is trained, and in the form of generation."""

    config: ModelConfig
    trained: Params
    model: FunAudioChat
    params: Params


def toy(config: ModelConfig = CONFIG, deaf: bool = False, talkative: bool = False) -> Toy:
    """Makes a model.

    One that is deaf while it talks has the kernel `beside` of zeros that training begins with; the head of one that is
    talkative hardly ever ends a turn.
    """
    trained = initial_params(config)
    if talkative:
        embed = trained["speech_embedder"]["embed"]["embedding"].at[config.special.speech_eos].set(0)
        trained = {**trained, "speech_embedder": {**trained["speech_embedder"], "embed": {"embedding": embed}}}
    kernel = trained["beside"]["kernel"]
    if not deaf:
        kernel = 0.3 * jax.random.normal(jax.random.key(8), kernel.shape, kernel.dtype)
    trained = {**trained, "beside": {"kernel": kernel}}
    return Toy(config, trained, *prepare(config, trained))


def prompt_side(toy: Toy, ids: Sequence[int]) -> Side:
    """Runs a prompt."""
    side = empty_side(toy.model, len(ids))
    for start in range(0, len(ids), CHUNK):
        side = extend(toy.model, toy.params, side, text_chunk(toy.model, ids[start : start + CHUNK]))
    return side


@partial(jax.jit, static_argnames=("model", "draws"))
def seen_tick(
    model: FunAudioChat, params: Params, state: CallState, samples: jax.Array, active: jax.Array, draws: bool
) -> tuple[CallState, Slot, jax.Array]:
    """As `programs.tick`, and gives the states of the Shared LLM."""

    def run(model: FunAudioChat, state: CallState) -> tuple[CallState, Slot, jax.Array]:
        running = active & (state.mode != Mode.FREE)
        ears, frames = hear(model, state.ears, samples, running)
        return next_slot(model, dataclasses.replace(state, ears=ears), frames, running, draws)

    return nn.apply(run, model)({"params": params}, state)


@dataclasses.dataclass(frozen=True)
class Made:
    """What a call did, from slot 0 on; `hidden` are states at the slots that were run, one fewer."""

    text_ids: np.ndarray
    groups: np.ndarray
    modes: np.ndarray
    cuts: np.ndarray
    hidden: np.ndarray

    @classmethod
    def of(cls, slots: Sequence[Slot], hidden: Sequence[jax.Array]) -> "Made":
        """Gathers slots of one call."""
        named = ([getattr(slot, name) for slot in slots] for name in ("text_ids", "groups", "mode", "cut"))
        text_ids, groups, modes, cuts = (np.stack(one) for one in named)
        return cls(text_ids, groups, modes, cuts, np.stack(hidden))


def row_at(tree: Slot, row: int) -> Slot:
    """Takes one row."""
    return jax.tree.map(lambda leaf: np.asarray(leaf[row]), tree)


def begin(
    toy: Toy, state: CallState, place: int, ids: Sequence[int], given: Options, greets: bool = False
) -> tuple[CallState, Slot]:
    """Begins a call; returns the state and its slot 0."""
    side = prompt_side(toy, ids)
    state, slot = join(toy.model, toy.params, state, side, place, given, greets, draws=True)
    return state, row_at(slot, 0)


def run_alone(
    toy: Toy,
    ids: Sequence[int],
    user: np.ndarray,
    given: Options,
    places: int = 1,
    place: int = 0,
    greets: bool = False,
) -> tuple[Made, CallState]:
    """Runs a call with nobody in the other places; `user` is `[slots * SLOT]`."""
    state, slot = begin(toy, empty_calls(toy.model, places), place, ids, given, greets)
    made, hidden = [slot], []
    for block in user.reshape(-1, SLOT):
        samples = np.zeros((places, SLOT), np.float32)
        samples[place] = block
        state, slot, states = seen_tick(toy.model, toy.params, state, samples, np.arange(places) == place, True)
        made.append(row_at(slot, place))
        hidden.append(np.asarray(states[place]))
    return Made.of(made, hidden), state


@partial(jax.jit, static_argnames=("model",))
def forward(model: FunAudioChat, params: Params, batch: Batch) -> Any:
    """Runs a row as training does; gives a `ModelOutput`."""
    return model.apply({"params": params}, batch)


@partial(jax.jit, static_argnames=("model",))
def features_of(model: FunAudioChat, params: Params, user: jax.Array) -> jax.Array:
    """Makes the features of a recording as training data have them."""
    return nn.apply(slide_features, model)({"params": params}, user[None])[0]


def noise(seed: int, slots: int, loud: float = 0.1) -> np.ndarray:
    """A user who makes noise, now louder, now softer."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0, loud, slots), SLOT)
    return (rng.standard_normal(slots * SLOT) * level).astype(np.float32)


def row_of(made: Made, ids: Sequence[int], features: jax.Array, config: ModelConfig) -> Batch:
    """Lays what a call did out as a row of training, from the prompt on; the last slot, which was not run, is left out.

    It is written from docs/duplex.md, apart from the library's layout and from the runtime's. `features` are those of
    the user's audio.
    """
    special, group = config.special, config.group_size
    before, slots = len(ids), len(made.modes) - 1
    length = before + slots
    mode = np.concatenate([np.zeros(before), made.modes[:-1]])
    idle, talking = mode == Mode.IDLE, mode == Mode.TALKING
    text = np.concatenate([ids, made.text_ids[:-1]])
    speech = np.concatenate([np.full((before, group), special.speech_pad), made.groups[:-1]])
    labels = np.where((talking | (mode == Mode.CLOSING))[:, None], speech, IGNORE)
    index = np.concatenate([np.full((before, group), -1), np.arange(slots * group).reshape(-1, group)])
    kind = np.where(idle, Kind.SPEECH, np.where(talking, Kind.JOINT, Kind.TEXT))
    assert config.duplex is not None
    start = config.duplex.sinks - before
    windows = slide_windows(np.asarray(features), window_slots(config))

    def row(values: np.ndarray, dtype: type = np.int32) -> np.ndarray:
        return np.asarray(values, dtype)[None]

    return Batch(
        text_ids=row(np.where(idle, special.audio, text)),
        kind=row(kind),
        speech_ids=row(np.where(talking[:, None], speech, special.speech_pad)),
        has_waveform=row(idle, bool),
        frame_index=row(index),
        segment_ids=np.ones((1, length), np.int32),
        positions=row(start + np.arange(length)),
        labels=np.full((1, length), IGNORE, np.int32),
        speech_labels=row(labels),
        mel_windows=np.zeros((len(windows), 0, config.mel_bins), np.float32),
        mel_lengths=np.zeros(len(windows), np.int32),
        features=windows,
        beside=row((mode > 0) & ~idle, bool),
    )
