"""The baseline without training: a detector of speech decides whose turn it is, and a half-duplex model answers.

A turn of the user ends after some silence. The reply is heard at once: computing costs nothing here, and neither do
the codec and the network, so that its latency is the silence alone, the least that such a system can have. The
detector reads the whole recording, which flatters it too. What the user says while a reply is heard stops the reply
when it has lasted 0.3 s; what is shorter is not heard at all.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from fac_jax.audio.mel import RATE
from fac_jax.evaluation.benchmarks.duplex.segments import Segment, merge
from fac_jax.evaluation.calls.base import Reply

SILENCES: Final = (0.3, 0.5, 0.7, 1.0)  # seconds
STOPS_AFTER: Final = 0.3  # seconds of speech
EPSILON: Final = 1e-6  # seconds: times are sums of floats
PAD: Final = RATE // 5  # samples before and after what is spoken, that the model hears too
LONGEST: Final = 8 * RATE  # samples that the model hears of a turn, its last ones


@dataclasses.dataclass(frozen=True)
class UserTurn:
    """A turn of the user by a detector.

    Attributes:
      start: its first sample.
      end: the sample after its last.
      stops: the sample at which it stops a reply that is heard at its start; None if it never does.
    """

    start: int
    end: int
    stops: int | None

    def clip(self, samples: int) -> tuple[int, int]:
        """Returns the first sample and the one after the last of what the model hears, in a call of some samples."""
        end = min(samples, self.end + PAD)
        return max(0, self.start - PAD, end - LONGEST), end


@dataclasses.dataclass(frozen=True)
class Said:
    """A reply of the model: its text, and the samples at 16 kHz that its speech takes."""

    text: str
    samples: int


def user_turns(speech: Sequence[Segment], silence: float) -> list[UserTurn]:
    """Divides what a detector takes for speech where it is silent for `silence` seconds."""
    turns = []
    for turn in merge(speech, silence):
        within = (one for one in speech if turn.start <= one.start and one.end <= turn.end)
        first = next((one for one in within if one.seconds > STOPS_AFTER - EPSILON), None)
        stops = None if first is None else round((first.start + STOPS_AFTER) * RATE)
        turns.append(UserTurn(round(turn.start * RATE), round(turn.end * RATE), stops))
    return turns


def take_turns(
    turns: Sequence[UserTurn], silence: float, samples: int, answer: Callable[[UserTurn], Said]
) -> list[Reply]:
    """Returns the replies that are heard in a call.

    Args:
      turns: of `user_turns` with the same silence.
      silence: seconds that end a turn.
      samples: length of the call.
      answer: what the model says to a turn.
    """
    heard: list[Reply] = []
    for turn in turns:
        if heard and turn.start < heard[-1].end:
            if turn.stops is None:
                continue
            heard[-1] = heard[-1]._replace(end=min(heard[-1].end, turn.stops))
        start, said = turn.end + round(silence * RATE), answer(turn)
        if start < samples and said.samples:
            heard.append(Reply(start, min(samples, start + said.samples), said.text))
    return heard
