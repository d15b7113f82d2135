"""The clock of a record that is a call: which slots each turn of the assistant takes, and what happens when."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from fac_jax.duplex.call import Event, EventKind


@dataclasses.dataclass(frozen=True)
class TurnTiming:
    """The slots of a turn (`fac_jax.duplex.call.Turn`).

    Attributes:
      opening: slot of `audio_bos`.
      closing: slot of `audio_eos`.
      cut: whether the reply goes on after it, unheard.
    """

    opening: int
    closing: int
    cut: bool = False


@dataclasses.dataclass(frozen=True)
class Timing:
    """The clock of a call.

    Attributes:
      slots: length of the call.
      delay_groups: groups of speech bos of every turn.
      turns: one for each message of the assistant, in order.
      events: in the order of their onsets.
    """

    slots: int
    delay_groups: int
    turns: tuple[TurnTiming, ...] = ()
    events: tuple[Event, ...] = ()

    def heard(self, turn: TurnTiming) -> int:
        """Returns the slots in which a turn is heard."""
        return max(0, turn.closing - turn.opening - 1 - self.delay_groups)

    def audible(self, turn: TurnTiming) -> int:
        """Returns the first slot in which a turn is heard; `closing` if it never is."""
        return turn.closing - self.heard(turn)


def to_json(timing: Timing) -> dict[str, Any]:
    """Returns the values that `from_json` reads."""
    return {
        "slots": timing.slots,
        "delay_groups": timing.delay_groups,
        "turns": [dataclasses.asdict(turn) for turn in timing.turns],
        "events": [dataclasses.asdict(event) for event in timing.events],
    }


def from_json(values: Mapping[str, Any]) -> Timing:
    """Returns the clock of the values of `to_json`."""
    turns = tuple(TurnTiming(**turn) for turn in values["turns"])
    events = tuple(Event(**{**event, "kind": EventKind(event["kind"])}) for event in values["events"])
    return Timing(values["slots"], values["delay_groups"], turns, events)
