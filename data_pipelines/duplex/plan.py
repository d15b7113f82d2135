"""Draws the events of a call, and places a dialogue on its clock.

What would not fit the slots of a call is left out with all that belongs to it, so that every turn is whole or is cut by
an event.
"""

import dataclasses
from typing import Final, NamedTuple

import numpy as np

from data_pipelines.duplex.dialogue import Dialogue, Exchange
from data_pipelines.duplex.events import EventsConfig
from data_pipelines.duplex.overlays import overlay
from data_pipelines.duplex.question import at_once, converse
from data_pipelines.duplex.timeline import Timeline, choice, one_of, samples
from fac_jax.duplex.call import SLOT, EventKind

TAIL: Final = 2  # slots after the last sound, in which the assistant stays silent, at least
LATER: Final = 4  # further ones, at most, where the call is long enough


class _Cut(NamedTuple):
    """An interruption: the call so far, the sample at which the user begins, and whether it is a command."""

    line: Timeline
    onset: int
    command: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Planner:
    """Places dialogues.

    Attributes:
      events: how often things happen.
      delay: groups of speech bos of a turn.
      slots: least and most slots of the call.
      rng: of every draw.
    """

    events: EventsConfig
    delay: int
    slots: tuple[int, int]
    rng: np.random.Generator

    def plan(self, dialogue: Dialogue, greeted: bool) -> Timeline | None:
        """Places as much of a dialogue as fits; None if not one exchange does. `greeted`: the assistant begins.

        The call ends after the slots of `slots`, or earlier, soon after its last sound.
        """
        line, left, best = Timeline(self.delay), list(dialogue.exchanges), None
        if greeted:
            line = self._greet(line, dialogue)
        cut: _Cut | None = None
        while left:
            placed = self._exchange(line if cut is None else cut.line, left.pop(0), dialogue, cut)
            cut = None
            if not self._fits(placed):
                continue  # a shorter one may fit; a turn that it was to interrupt stays whole
            replied = len(placed.turns) > len(line.turns)
            best = line = placed
            if not replied:
                continue
            cut = self._interrupt(line, dialogue, bool(left))
            if cut is None:
                more = overlay(line, self.events, dialogue.extras, self.rng)
            elif cut.command:
                more, cut = self._command(cut, dialogue), None
            else:
                self._choose(left, dialogue)
                continue
            if self._fits(more):
                best = line = more
        if best is None:
            return None
        least, most = self.slots
        ended = best.end + TAIL + int(self.rng.integers(LATER + 1))
        return best.finished(min(most, max(least, ended)))

    def _fits(self, line: Timeline) -> bool:
        return line.end + TAIL <= self.slots[1]

    def _greet(self, line: Timeline, dialogue: Dialogue) -> Timeline:
        greeting = one_of(self.rng, dialogue.extras.greetings)
        line = line.answer(greeting, int(self.rng.integers(self.events.greeting.slots + 1)))
        turn = line.turns[0]
        return line.note(EventKind.GREETING, turn.onset, turn.spoken, greeting.text, 0)

    def _exchange(self, line: Timeline, exchange: Exchange, dialogue: Dialogue, cut: _Cut | None) -> Timeline:
        """Places an exchange, which begins where it interrupts a turn, or after the user's gap."""
        if cut is not None:
            turn, whole = len(line.turns) - 1, exchange.asked.whole
            line = at_once(line, exchange, cut.onset, self.events, self.rng)
            return line.note(EventKind.INTERRUPTION, cut.onset, cut.onset + len(whole), whole.text, turn)
        drawn, gap = self.events.user_gap, self.events.user_gap.seconds.draw(self.rng)
        onset = line.now + samples(gap)
        if line.turns:
            ended = line.turns[-1].spoken
            if line.now == ended and self.rng.random() < drawn.early:
                half = (line.turns[-1].onset + ended) // 2  # of a short turn at least half is heard alone
                onset = max(half, ended - samples(self.rng.uniform(*drawn.early_seconds)))
            line = line.note(EventKind.USER_GAP, min(onset, ended), max(onset, ended), turn=len(line.turns) - 1)
        return converse(line, exchange, onset, self.events, dialogue.extras, self.rng)

    def _interrupt(self, line: Timeline, dialogue: Dialogue, more: bool) -> _Cut | None:
        """Draws an interruption of the last turn; `more`: the dialogue has another question."""
        drawn = self.events.interruption
        if self.rng.random() >= drawn.probability:
            return None
        turn, command = line.turns[-1], self.rng.random() < drawn.command
        heard = turn.spoken - turn.onset
        if heard <= samples(drawn.longer) or not (dialogue.extras.commands if command else more or dialogue.side):
            return None
        slots = drawn.slots[choice(self.rng, drawn.shares)]
        first = turn.onset + samples(drawn.after)
        last = min(turn.spoken - samples(drawn.before), (turn.closing - slots) * SLOT - 1)
        if last < first:
            return None
        onset = int(self.rng.integers(first, last + 1))
        return _Cut(line.cut(onset // SLOT + slots), onset, command)

    def _choose(self, left: list[Exchange], dialogue: Dialogue) -> None:
        """Puts a side question before the exchanges that are left, if there is one, or in place of them."""
        if dialogue.side:
            if self.rng.random() >= self.events.interruption.returns:
                left.clear()
            left.insert(0, one_of(self.rng, dialogue.side))

    def _command(self, cut: _Cut, dialogue: Dialogue) -> Timeline:
        """Places a command to stop, and perhaps a word of the assistant."""
        said, turn = one_of(self.rng, dialogue.extras.commands), len(cut.line.turns) - 1
        end = cut.onset + len(said)
        line = cut.line.say(cut.onset, said).note(EventKind.STOP, cut.onset, end, said.text, turn)
        if dialogue.extras.acknowledgements and self.rng.random() < self.events.interruption.answered:
            opening = (end - 1) // SLOT + 1 + choice(self.rng, self.events.response_gap.shares)
            line = line.answer(one_of(self.rng, dialogue.extras.acknowledgements), max(line.free, opening))
        return line


def quiet(slots: int, noisy: bool, delay: int) -> Timeline:
    """Returns a call in which nobody speaks."""
    kind = EventKind.NOISE_ONLY if noisy else EventKind.SILENCE
    return Timeline(delay).note(kind, 0, slots * SLOT).finished(slots)
