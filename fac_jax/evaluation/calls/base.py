"""What scorers of calls read and return: a script of what happens, what the assistant is heard to say, and a verdict.

All times are samples at 16 kHz from the start of the call, so that nothing is rounded at a limit.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Int32

from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, Event, EventKind, Turn

Behaviour: TypeAlias = Literal["RESPOND", "RESUME", "UNKNOWN"]
Scenario: TypeAlias = Literal[
    "clean_turn",
    "pause",
    "unfinished",
    "interruption",
    "stop",
    "backchannel",
    "noise",
    "side_talk",
    "echo",
    "greeting",
    "silence",
    "noise_only",
]
ANSWER_WITHIN: Final = RATE  # from the user's end to the first sound of the answer
STOP_WITHIN: Final = RATE * 4 // 5  # from the onset of an interruption to the last sound of the reply
GREET_WITHIN: Final = RATE  # from the start of the call


class Reply(NamedTuple):
    """A reply of the assistant, with the samples at which it is first heard and no longer heard."""

    start: int
    end: int
    text: str


@dataclasses.dataclass(frozen=True)
class Script:
    """What happens in a call, whoever answers.

    Attributes:
      id: names the call.
      slots: length of the call.
      events: exact, in the order of their onsets.
      replies: what the assistant should say, one for every turn that the events name; a reply that is to be cut has the
        text of all of it, and the time of what is heard.
    """

    id: str
    slots: int
    events: tuple[Event, ...]
    replies: tuple[Reply, ...]

    def event(self, *kinds: EventKind) -> Event:
        """Returns the first event of some kinds, which is there: a scenario has one in every call."""
        return next(event for event in self.events if event.kind in kinds)

    def asked(self, turn: int) -> tuple[int, int]:
        """Returns when the user begins and ends what a turn answers; an unfinished question ends with its wait."""
        kinds = (EventKind.SPEECH, EventKind.UNFINISHED)
        found = [event for event in self.events if event.kind in kinds and event.turn == turn]
        return min(event.onset for event in found), max(event.end for event in found)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The verdict on a call.

    Attributes:
      failure: why the call is none of the scenario's successes, in a word or two; "" for a success.
      latency: samples from the end or the onset that the scenario is about to the reaction; None if there was none.
      answer: whether the text of the answer is right; None where nothing is asked.
      behaviour: what the assistant did about speech over its own; None where there is none.
      onsets: replies that are heard.
    """

    failure: str
    latency: int | None
    answer: bool | None
    behaviour: Behaviour | None
    onsets: int

    @property
    def success(self) -> bool:
        """Returns whether the assistant did what the scenario wants."""
        return not self.failure


def replies_of(turns: Iterable[Turn], text: Callable[[Int32[np.ndarray, " n"]], str]) -> list[Reply]:
    """Returns the turns of a call that are heard; `text` decodes their text ids."""
    return [
        Reply(turn.audible * SLOT, turn.closing * SLOT, text(turn.text_ids).strip())
        for turn in turns
        if len(turn.groups)
    ]


def words(text: str) -> list[str]:
    """Returns the words of a text in lower case, without punctuation."""
    return re.findall(r"[^\W_]+(?:['-][^\W_]+)*", text.lower())


def same(one: str, other: str) -> bool:
    """Returns whether two texts have the same words."""
    return words(one) == words(other)


def piece_of(text: str, whole: str) -> bool:
    """Returns whether a text is a run of words of another, and not empty."""
    part, all_words = words(text), words(whole)
    return bool(part) and any(all_words[i : i + len(part)] == part for i in range(len(all_words)))


def first_after(replies: Sequence[Reply], time: int) -> Reply | None:
    """Returns the first reply that begins at a time or later."""
    return next((reply for reply in replies if reply.start >= time), None)


def heard_at(replies: Sequence[Reply], time: int) -> Reply | None:
    """Returns the reply that is heard at a time."""
    return next((reply for reply in replies if reply.start <= time < reply.end), None)
