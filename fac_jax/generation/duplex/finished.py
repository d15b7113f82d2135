"""Recordings of users run through calls, many side by side: what the assistant does in every slot, and its channel."""

import dataclasses
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float32, Int32

from fac_jax.codec.base import Codec
from fac_jax.duplex.call import SLOT, SLOT_SECONDS, Turn
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.live_call import CallOptions, LiveCall
from fac_jax.generation.duplex.record import Step

FADE_S: Final = 0.03  # in which a turn that is cut falls silent


@dataclasses.dataclass(frozen=True, eq=False)
class Asked:
    """A user's side of a call.

    Attributes:
      system: system prompt.
      user: the user's channel at 16 kHz; the call is as long as it is, in whole slots.
      options: how the call is answered.
    """

    system: str
    user: Float32[np.ndarray, " N"]
    options: CallOptions = CallOptions()

    @property
    def slots(self) -> int:
        """Returns the number of slots of the call."""
        return max(1, -(-len(self.user) // SLOT))


@dataclasses.dataclass(frozen=True, eq=False)
class Finished:
    """A call that is over.

    Attributes:
      steps: its slots in order.
      turns: the assistant's; one that goes on at the end is cut there.
    """

    steps: tuple[Step, ...]
    turns: tuple[Turn, ...]

    @property
    def text_ids(self) -> Int32[np.ndarray, " slots"]:
        """Returns the text id of every slot."""
        return np.array([step.text_id for step in self.steps], np.int32)

    @property
    def groups(self) -> Int32[np.ndarray, "slots G"]:
        """Returns the speech ids of every slot."""
        return np.stack([step.group for step in self.steps]).astype(np.int32)


@dataclasses.dataclass(eq=False)
class _Running:
    number: int
    blocks: Float32[np.ndarray, "slots 3200"]
    steps: list[Step] = dataclasses.field(default_factory=list)


def run_calls(
    calls: Calls, asked: Sequence[Asked], advance: Callable[[int], object] = lambda slots: None
) -> Iterator[tuple[int, Finished]]:
    """Runs calls, as many side by side as there are places, as fast as they go.

    Args:
      calls: places, all of them free.
      asked: the users' sides.
      advance: is called with the number of slots that were run.

    Yields:
      the number of each call and what came of it, in the order in which they end.

    Raises:
      InputError: a prompt is longer than the sinks.
    """
    waiting = deque(enumerate(asked))
    running: dict[LiveCall, _Running] = {}
    while waiting or running:
        while waiting and calls.free:
            number, one = waiting.popleft()
            call = calls.join(one.system, one.options)
            assert call is not None
            running[call] = _Running(number, _blocks(one))
        while calls.waiting:
            calls.work(math.inf)
        for call, run in running.items():
            if not run.steps and call.next is not None:
                run.steps.append(call.next)
        for call, run in [*running.items()]:
            if len(run.steps) == len(run.blocks):
                del running[call]
                yield run.number, Finished(tuple(run.steps), call.record.all_turns(len(run.steps)))
                calls.leave(call)
        if running:
            heard = {call: run.blocks[len(run.steps) - 1] for call, run in running.items()}
            for call, step in calls.tick(heard).items():
                running[call].steps.append(step)
            advance(len(heard))


def spoken_channel(turns: Sequence[Turn], slots: int, codec: Codec) -> Float32[np.ndarray, " N"]:
    """Speaks the turns of a call, each group in its slot, silence elsewhere; the wave has the codec's rate.

    A turn that is cut fades to silence within 30 ms before its closing slot.
    """
    size = round(SLOT_SECONDS * codec.rate)
    wave = np.zeros(slots * size, np.float32)
    for turn in turns:
        units = turn.groups[turn.groups < codec.units]
        if not units.size:
            continue
        start = turn.audible * size
        said = codec.decode(units)[: (turn.closing - turn.audible) * size].astype(np.float32)
        if turn.cut:
            fall = min(len(said), round(FADE_S * codec.rate))
            said[len(said) - fall :] *= np.linspace(1, 0, fall, dtype=np.float32)
        wave[start : start + len(said)] = said
    return wave


def _blocks(asked: Asked) -> Float32[np.ndarray, "slots 3200"]:
    padded = np.zeros(asked.slots * SLOT, np.float32)
    padded[: len(asked.user)] = asked.user
    return padded.reshape(-1, SLOT)
