"""What the assistant has said in a call: its turns, and how much of each was heard (docs/duplex.md, "Runtime")."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Int

from fac_jax.duplex.call import GROUP, SLOT_SECONDS, Turn
from fac_jax.generation.duplex.state import Mode
from fac_jax.text.special_ids import SpecialIds

IDS_PER_SECOND: Final = 3.5  # text ids that speech says, until a call has a whole turn to measure them


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What a call does in one slot.

    Attributes:
      slot: number of the slot in the call.
      text_id: its text id.
      group: its speech ids `[G]`, speech pad where nothing is spoken.
      mode: what the slot is.
      chance: probability, at the slot before, that the turn begins or ends here (`state.Slot`).
      cut: whether the turn was ended here before its text was.
    """

    slot: int
    text_id: int
    group: Int[np.ndarray, " G"]
    mode: Mode
    chance: float
    cut: bool


class Record:
    """The turns of a call.

    Attributes:
      turns: the turns that have ended, in order.
      quiet: idle slots since the last turn.
    """

    def __init__(self, special: SpecialIds) -> None:
        self.turns: list[Turn] = []
        self.quiet = 0
        self._special = special
        self._opening: int | None = None  # of the turn that goes on
        self._ids: list[int] = []
        self._groups: list[np.ndarray] = []

    def add(self, step: Step) -> Turn | None:
        """Takes the next slot; returns the turn that ends in it."""
        self.quiet = self.quiet + 1 if step.mode == Mode.IDLE else 0
        if step.mode == Mode.OPENING:
            self._opening, self._ids, self._groups = step.slot, [], []
        elif step.mode == Mode.TALKING:
            if step.text_id != self._special.sil:
                self._ids.append(step.text_id)
            if (step.group != self._special.speech_bos).all():
                self._groups.append(step.group)
        elif step.mode == Mode.CLOSING and self._opening is not None:
            self.turns.append(self._turn(self._opening, step.slot, step.cut))
            self._opening = None
            return self.turns[-1]
        return None

    def all_turns(self, slots: int) -> tuple[Turn, ...]:
        """Returns the turns of a call that ends after so many slots, where a turn that goes on is cut."""
        running = () if self._opening is None else (self._turn(self._opening, slots, True),)
        return (*self.turns, *running)

    def _turn(self, opening: int, closing: int, cut: bool) -> Turn:
        groups = np.array(self._groups, np.int32).reshape(-1, GROUP)
        return Turn(opening, closing, np.array(self._ids, np.int32), groups, cut)


def spoken_ids(turn: Turn, played: int, finished: Sequence[Turn]) -> int:
    """Returns how many text ids of a turn the listener has heard as speech.

    A turn that was not cut has said all its ids in its time; of one that was cut, only the ids and the time are known,
    and it is taken to speak as fast as the turns of the call that were not.

    Args:
      turn: text runs ahead of speech, so it may have more ids than it has said.
      played: slots of its speech that were played.
      finished: turns of the call.
    """
    whole = [one for one in finished if not one.cut and len(one.groups)]
    if not turn.cut:
        whole = [turn]
    seconds = SLOT_SECONDS * sum(len(one.groups) for one in whole)
    rate = sum(len(one.text_ids) for one in whole) / seconds if seconds else IDS_PER_SECOND
    return min(len(turn.text_ids), math.floor(played * SLOT_SECONDS * rate + 1e-9))
