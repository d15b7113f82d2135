"""How often things happen in a call that is made, and how: one frozen config, with the defaults of docs/duplex.md.

Every probability is that of one possible place; times are seconds, levels decibels over the user's speech.
"""

import dataclasses
import math
from typing import Any, Final, TypeAlias

import numpy as np

from fac_jax.types import InputError

Range: TypeAlias = tuple[float, float]
FIXED: Final = ("early", "silent", "command", "returns", "idle", "answered", "noise")  # shares, besides `probability`


@dataclasses.dataclass(frozen=True)
class LogNormal:
    """A time that is drawn by its median, with the standard deviation `sigma` of its logarithm, clipped to a range."""

    median: float
    sigma: float
    least: float
    most: float

    def draw(self, rng: np.random.Generator) -> float:
        """Draws a time."""
        return float(np.clip(rng.lognormal(math.log(self.median), self.sigma), self.least, self.most))


@dataclasses.dataclass(frozen=True)
class ResponseGap:
    """Slots between the slot in which the user ends and the one in which the assistant opens its turn.

    Attributes:
      shares: probability of 0, 1, 2, .. slots.
    """

    shares: tuple[float, ...] = (0.6, 0.3, 0.1)


@dataclasses.dataclass(frozen=True)
class UserGap:
    """How long the user waits after a reply.

    Attributes:
      seconds: of the gap.
      early: share of questions that begin before the reply ends, which goes on.
      early_seconds: how much before.
    """

    seconds: LogNormal = LogNormal(0.6, 0.6, 0.1, 3.0)
    early: float = 0.08
    early_seconds: Range = (0.1, 0.5)


@dataclasses.dataclass(frozen=True)
class Pause:
    """A pause between two parts of what the user says."""

    probability: float = 0.35
    seconds: LogNormal = LogNormal(0.5, 0.5, 0.2, 2.0)


@dataclasses.dataclass(frozen=True)
class Unfinished:
    """A question that stops before its last part.

    Attributes:
      probability: of a question that has parts.
      seconds: until the user goes on.
      silent: share of those that never go on.
      asked_after: seconds after which the assistant asks back then.
    """

    probability: float = 0.12
    seconds: Range = (1.0, 3.0)
    silent: float = 0.2
    asked_after: float = 3.0


@dataclasses.dataclass(frozen=True)
class Resumed:
    """A pause in which the assistant opens its turn, which it takes back before it is heard, or soon after.

    Attributes:
      probability: of a question that has parts.
      seconds: of the pause.
      slots: least and most slots from the one in which the user goes on to `audio_eos`.
    """

    probability: float = 0.05
    seconds: Range = (0.5, 0.9)
    slots: tuple[int, int] = (1, 2)


@dataclasses.dataclass(frozen=True)
class Interruption:
    """The user speaks while the assistant does, which then stops.

    Attributes:
      probability: of a turn that is heard for longer than `longer`.
      longer: seconds.
      after: seconds that a turn is heard before.
      before: seconds that are left of it at least.
      slots: how many the assistant goes on, counted from the one in which the user begins.
      shares: probability of each of `slots`.
      command: share of interruptions that are commands ("stop"); the others are questions.
      answered: share of commands that a word answers.
      returns: share of side questions after which the dialogue goes on.
    """

    probability: float = 0.25
    longer: float = 1.5
    after: float = 0.6
    before: float = 0.5
    slots: tuple[int, ...] = (2, 3, 4)
    shares: tuple[float, ...] = (0.3, 0.4, 0.3)
    command: float = 0.25
    answered: float = 0.5
    returns: float = 0.5


@dataclasses.dataclass(frozen=True)
class Backchannel:
    """A word of the user that asks for nothing ("mm-hm").

    Attributes:
      probability: of a turn that is heard for longer than `longer`.
      longer: seconds.
      decibels: level.
      idle: share of them that fall after the turn, while the assistant listens.
    """

    probability: float = 0.25
    longer: float = 2.0
    decibels: Range = (-10.0, -3.0)
    idle: float = 0.1


@dataclasses.dataclass(frozen=True)
class Burst:
    """A sound that is not the user's, during a turn of the assistant or after it.

    Attributes:
      probability: of an exchange.
      seconds: how long it is.
      decibels: level.
      idle: share of them that fall after the turn.
    """

    probability: float
    seconds: Range
    decibels: Range
    idle: float = 0.5


@dataclasses.dataclass(frozen=True)
class AssistantBackchannel:
    """A word of the assistant in a pause of a long question.

    Attributes:
      probability: of a question longer than `longer` that has a pause.
      longer: seconds.
      slots: most slots in which it is heard.
    """

    probability: float = 0.15
    longer: float = 4.0
    slots: int = 4


@dataclasses.dataclass(frozen=True)
class Greeting:
    """A call that the assistant begins, which its system prompt says.

    Attributes:
      probability: of a call.
      slots: most slots before `audio_bos`.
    """

    probability: float = 0.2
    slots: int = 2


@dataclasses.dataclass(frozen=True)
class NothingToAnswer:
    """The user says something that needs no answer ("thank you").

    Attributes:
      probability: of a place after a reply.
      answered: share of them that a word answers.
    """

    probability: float = 0.05
    answered: float = 0.5


@dataclasses.dataclass(frozen=True)
class Quiet:
    """A call in which nobody speaks.

    Attributes:
      probability: of a call.
      seconds: how long it is.
      noise: share of them that have noise all the time.
    """

    probability: float = 0.03
    seconds: float = 30.0
    noise: float = 0.5


@dataclasses.dataclass(frozen=True)
class EventsConfig:
    """The thirteen kinds of events."""

    response_gap: ResponseGap = ResponseGap()
    user_gap: UserGap = UserGap()
    pause: Pause = Pause()
    unfinished: Unfinished = Unfinished()
    resumed: Resumed = Resumed()
    interruption: Interruption = Interruption()
    backchannel: Backchannel = Backchannel()
    noise: Burst = Burst(0.15, (0.2, 2.0), (-10.0, 0.0))
    side_talk: Burst = Burst(0.1, (1.0, 4.0), (-20.0, -6.0))
    assistant_backchannel: AssistantBackchannel = AssistantBackchannel()
    greeting: Greeting = Greeting()
    nothing_to_answer: NothingToAnswer = NothingToAnswer()
    quiet: Quiet = Quiet()

    def __post_init__(self) -> None:
        found = [fault for name in vars(self) for fault in _faults(f"events.{name}", getattr(self, name))]
        if found:
            raise InputError("; ".join(found))


def _faults(where: str, event: object) -> list[str]:
    """Returns what is wrong with the shares, times and ranges of an event."""
    found = []
    for name, value in vars(event).items():
        if name in ("probability", *FIXED) and not 0 <= value <= 1:
            found.append(f"{where}.{name} is {value}: give a share from 0 to 1")
        if name == "shares" and (min(value) < 0 or abs(sum(value) - 1) > 1e-6):
            found.append(f"{where}.{name} is {value}: give probabilities that sum to 1")
        if name in ("seconds", "early_seconds", "decibels") and isinstance(value, tuple) and value[0] > value[1]:
            found.append(f"{where}.{name} is {value}: give the lesser first")
    if isinstance(event, Interruption) and len(event.slots) != len(event.shares):
        found.append(f"{where} has {len(event.slots)} slots and {len(event.shares)} shares of them")
    return found


def without(**events: object) -> EventsConfig:
    """Returns events of probability 0, of gaps of no extra slot and of no early start, but for those that are given."""
    usual = vars(EventsConfig())
    off = {name: dataclasses.replace(one, probability=0.0) for name, one in usual.items() if "probability" in vars(one)}
    calm = {"response_gap": ResponseGap((1.0,)), "user_gap": UserGap(early=0.0)}
    changed: dict[str, Any] = {**off, **calm, **events}
    return EventsConfig(**changed)
