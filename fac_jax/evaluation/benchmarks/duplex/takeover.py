"""Full-Duplex-Bench v1: does the model take the turn, how soon, and does it give backchannels.

Source: arXiv 2503.04721 and its code (docs/evaluation.md). The model's output has the clock and the length of the
user's wave. The code hears words with parakeet-tdt-0.6b-v2 and segments with Silero's detector.

Pause handling is the share of `takeover` over the words of the whole output, and lower is better. Smooth turn taking
is `smooth_turn`, user interruption is `interruption`: the share that takes the turn, and the latencies of those. The
relevance 0-5 of a reply to an interruption needs an LLM judge and is asked only where the turn was taken.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import jensenshannon

from fac_jax.evaluation.benchmarks.base import Rules
from fac_jax.evaluation.benchmarks.duplex.segments import Segment, Word, span, words_after, words_within

SHORT: Final = 1.0  # seconds: an utterance as long takes the turn
FEW: Final = 3  # words: so many do not yet take it
LONGEST: Final = 3.0  # seconds: no backchannel is longer
FEW_IN_BACKCHANNEL: Final = 2  # words
BIN: Final = 0.2  # seconds, of the distribution of backchannels over time
EMPTY_BIN: Final = 1e-10  # added to every count


class Turn(NamedTuple):
    """Whether the model took the turn, and if so after how many seconds; a start before the time counts as 0."""

    taken: bool
    latency: float | None


class BackchannelInput(NamedTuple):
    """The model's segments as the detector finds them, its words (None without a transcript), seconds of the file."""

    segments: Sequence[Segment]
    words: Sequence[Word] | None
    seconds: float


class Backchannels(NamedTuple):
    """What the model did while the user spoke.

    Attributes:
      taken: it took the turn; None for a row that cannot be scored.
      segments: those that count as backchannels.
      frequency: backchannels per second.
    """

    taken: bool | None
    segments: tuple[Segment, ...]
    frequency: float


def takeover(words: Sequence[Word]) -> bool:
    """Returns whether words take the turn: unless there are none, or at most three in less than a second."""
    return bool(words) and not (span(words) < SHORT and len(words) <= FEW)


def smooth_turn(words: Sequence[Word], turn_end: float) -> Turn:
    """Scores smooth turn taking.

    Args:
      words: the model's words of the whole output, in order.
      turn_end: when the user's turn ends, as annotated.
    """
    taken = takeover(words)
    return Turn(taken, max(0.0, words[0].start - turn_end) if taken else None)


def interruption(words: Sequence[Word], interruption_end: float) -> Turn:
    """Scores a user's interruption by what the model says after it; what came before is cut away."""
    return smooth_turn(words_after(words, interruption_end), interruption_end)


def backchannels(rows: Sequence[BackchannelInput], rules: Rules = "official") -> list[Backchannels]:
    """Scores all rows of the backchannel task.

    A segment of more than 3 s takes the turn, and what follows is not looked at. Otherwise the last segment decides:
    it takes the turn with more than two words, or if it lasts a second. Every segment up to the first that is longer
    than 3 s counts as a backchannel.

    Args:
      rows: the model's output, in the order of the files.
      rules: under "official" a row without a transcript has no backchannels and takes `taken` from the row before
        (None if there is none), a quirk of the code of Full-Duplex-Bench; under "strict" it has no words.
    """
    found: list[Backchannels] = []
    for row in rows:
        if row.words is None and rules == "official":
            found.append(Backchannels(found[-1].taken if found else None, (), 0.0))
        else:
            found.append(_backchannels(row))
    return found


def _backchannels(row: BackchannelInput) -> Backchannels:
    long = next((i for i, segment in enumerate(row.segments) if segment.seconds > LONGEST), None)
    kept = tuple(row.segments[:long])
    taken = long is not None
    if kept and not taken:
        last = kept[-1]
        taken = last.seconds >= SHORT or len(words_within(row.words or (), last)) > FEW_IN_BACKCHANNEL
    return Backchannels(taken, kept, len(kept) / row.seconds)


def backchannel_divergence(segments: Sequence[Segment], seconds: float, human: Float[np.ndarray, " H"]) -> float:
    """Compares when the model gives backchannels with when people do.

    Args:
      segments: the model's backchannels.
      seconds: length of the file.
      human: how often people give one over the length of the same sample, in bins of any number.

    Returns:
      The Jensen-Shannon distance to base e, from 0 to 0.833 of distributions over bins of 0.2 s; 1 for no backchannels.
    """
    if not segments:
        return 1.0
    counts = np.zeros(int(seconds / BIN) + 1)
    for segment in segments:
        counts[int(segment.start / BIN) : int(segment.end / BIN) + 1] += 1
    curve = np.interp(np.linspace(0, 1, len(counts)), np.linspace(0, 1, len(human)), human)
    return float(jensenshannon(counts + EMPTY_BIN, curve))
