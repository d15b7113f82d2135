"""Whether a call slot by slot did what training reads of it: all its slots run at once, and what each then picks."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.batching.collate import collate, least_shapes
from fac_jax.batching.grid import Example
from fac_jax.duplex.call import Call
from fac_jax.duplex.hearing import call_mels
from fac_jax.duplex.layout import lay_out
from fac_jax.generation.duplex.finished import Finished
from fac_jax.generation.duplex.state import Mode, options
from fac_jax.generation.duplex.tick import speech_scores, text_scores
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import IGNORE, Batch, Kind, Params


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How many picks of a call are those of the training row.

    Attributes:
      slots: slots whose text id the text stream picks; a turn's last slot is left out, as speech may end it.
      same_text: those with the same text id.
      talking: slots in which the assistant talks.
      same_groups: those with the same group.
    """

    slots: int
    same_text: int
    talking: int
    same_groups: int


def as_trained(
    model: FunAudioChat, params: Params, tokenizer: Tokenizer, system: str, user: np.ndarray, call: Finished
) -> Agreement:
    """Lays a greedy call out as a row of training, runs the row, and compares what each slot picks.

    The row has the ids of every slot as they are: a model may say groups that no row of training has.

    Args:
      model: a duplex model in the form of training.
      params: its parameters.
      tokenizer: its tokenizer.
      system: system prompt of the call.
      user: the user's channel at 16 kHz, of whole slots.
      call: what came of it, with the likeliest id everywhere and the model's own eagerness.

    Raises:
      InputError: as `lay_out`.
    """
    config = model.config
    assert config.duplex is not None
    idle = Call("call", system, len(call.steps), user)
    listens = lay_out(idle, call_mels(user, config), tokenizer, config, config.duplex.sinks)
    example = _said(listens, call, config)
    batch = collate([example], 1, *least_shapes([example], config), config)
    modes = np.array([step.mode for step in call.steps])
    before = np.concatenate([[Mode.IDLE], modes[:-1]])  # the prompt's last position picks as an idle slot does
    text, groups = _picked(model, params, batch, jnp.asarray(before))
    by_text, talking = modes != Mode.CLOSING, modes == Mode.TALKING
    return Agreement(
        slots=int(by_text.sum()),
        same_text=int((np.asarray(text) == call.text_ids)[by_text].sum()),
        talking=int(talking.sum()),
        same_groups=int((np.asarray(groups) == call.groups).all(axis=1)[talking].sum()),
    )


def _said(listens: Example, call: Finished, config: ModelConfig) -> Example:
    """Returns a row of training in which the assistant only listens, with what it does in the slots of a call."""
    special, slots = config.special, slice(len(listens) - len(call.steps), None)
    modes = np.array([step.mode for step in call.steps])
    idle, talking = modes == Mode.IDLE, modes == Mode.TALKING
    there = talking | (modes == Mode.CLOSING)

    def filled(name: str, values: np.ndarray) -> dict[str, np.ndarray]:
        field = getattr(listens, name).copy()
        field[slots] = values
        return {name: field}

    return dataclasses.replace(
        listens,
        **filled("text_ids", np.where(idle, special.audio, call.text_ids)),
        **filled("kind", np.where(idle, Kind.SPEECH, np.where(talking, Kind.JOINT, Kind.TEXT))),
        **filled("speech_ids", np.where(talking[:, None], call.groups, special.speech_pad)),
        **filled("speech_labels", np.where(there[:, None], call.groups, IGNORE)),
        **filled("has_waveform", idle),
        **filled("beside", ~idle),
    )


@partial(jax.jit, static_argnames="model")
def _picked(model: FunAudioChat, params: Params, batch: Batch, before: jax.Array) -> Any:
    config, slots = model.config, len(before)
    assert config.duplex is not None
    output: Any = model.apply({"params": params}, batch)
    last = slice(-slots - 1, -1)  # the slot before picks
    logits: Any = model.apply({"params": params}, output.hidden[0, last], method="text_logits")
    made_by = options(jnp.broadcast_to(jax.random.key(0), slots), config.duplex)
    text = jnp.argmax(text_scores(logits, before, made_by, config), axis=-1)
    spoken: Any = model.apply({"params": params}, output.speech_hidden[0, last], method="speech_logits")
    return text, jnp.argmax(speech_scores(spoken, made_by, config), axis=-1)
