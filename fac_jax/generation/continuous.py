"""Continuous batching: prompts are answered side by side, and where a reply ends, the next prompt begins."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.generation.engine import advance, insert, prefill
from fac_jax.generation.slots import Decoding, Request, Slots
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.hosts import everywhere
from fac_jax.parallel.mesh import Layout
from fac_jax.types import Batch, Params


class Prompts(Protocol):
    """Prompts that can be laid out as batches of static shapes."""

    @property
    def length(self) -> int:
        """LLM positions of a row."""
        ...

    @property
    def together(self) -> int:
        """Prompts that begin together once the first ones run: one, or as many as a mesh divides rows."""
        ...

    def __len__(self) -> int: ...

    def batch(self, chosen: Sequence[int | None]) -> tuple[Batch, Request]:
        """The prompts with these numbers, one a row, and how they are answered; None is a row without a reply."""
        ...


class Answer(NamedTuple):
    """The reply to the prompt with this number."""

    number: int
    reply: GeneratedReply


def answers(
    model: FunAudioChat,
    params: Params,
    prompts: Prompts,
    decoding: Decoding,
    rows: int,
    layout: Layout | None = None,
) -> Iterator[Answer]:
    """Yields the answers to prompts, in the order in which they end.

    Args:
      model: model with unstacked layers (`prepared.prepare`).
      decoding: sizes and streams; the requests of the prompts say the rest.
      rows: prompts that are answered side by side.
      layout: mesh on which the parameters are; it divides `rows` and `prompts.together` evenly.
    """
    sizes = {"max_steps": decoding.max_steps, "joint": decoding.stream == "joint", "draws": decoding.draws}
    group = model.config.group_size
    waiting = deque(range(len(prompts)))
    running: dict[int, int] = {slot: waiting.popleft() for slot in range(min(rows, len(waiting)))}
    first = prompts.batch([running.get(slot) for slot in range(rows)])
    slots = prefill(model, params, *first, length=prompts.length + decoding.max_steps, layout=layout, **sizes)
    while running:
        slots = advance(model, params, slots, decoding.max_steps, bool(waiting), draws=decoding.draws, layout=layout)
        alive, *ids = everywhere(written(slots))
        ended = [slot for slot in running if not alive[slot]]
        for slot in ended:
            yield Answer(running.pop(slot), reply_of(*(each[slot] for each in ids), group_size=group))
        while ended and waiting:
            places = [ended.pop(0) for _ in range(min(prompts.together, len(ended), len(waiting)))]
            running |= {place: waiting.popleft() for place in places}
            spare = prompts.together - len(places)
            batch, request = prompts.batch([*(running[place] for place in places), *[None] * spare])
            prefix = prefill(model, params, batch, request, length=prompts.length, layout=layout, **sizes)
            slots = insert(slots, prefix, np.array([*places, *[rows] * spare], np.int32), layout=layout)


def written(slots: Slots) -> tuple[jax.Array, ...]:
    """Which slots are alive, their text ids and how many; where something speaks, their groups and how many."""
    speech = slots.speech
    text = (slots.alive, slots.ids, slots.count)
    return text if speech is None else (*text, speech.ids, speech.count)


def reply_of(text: np.ndarray, count: np.integer, *speech: Any, group_size: int) -> GeneratedReply:
    """Makes a reply of what a slot has written: text ids and how many, and groups and how many where it speaks."""
    groups = speech[0][: speech[1]] if speech else np.zeros((0, group_size), np.int32)
    return GeneratedReply(text[:count], groups)
