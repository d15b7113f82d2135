"""Full-Duplex-Bench v1.5: how the model handles speech that overlaps its own.

Source: arXiv 2507.23159 and its code (docs/evaluation.md). The code finds segments with Silero's detector at 16 kHz.
A judge (gpt-4o-2024-08-06) names what the model says first after the overlap; `handled` compares it with what is
wanted. Of the figures that the code prints before and after the overlap, speech quality (UTMOSv2), pitch and intensity
are not here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from fac_jax.evaluation.benchmarks.duplex.segments import Segment, Word, merge, span
from fac_jax.evaluation.benchmarks.duplex.voice_activity import levels

Scenario: TypeAlias = Literal["interruption", "backchannel", "talking-to-others", "background-speech"]
Behaviour: TypeAlias = Literal["RESPOND", "RESUME", "UNCERTAIN_HANDLING", "UNKNOWN"]
WANTED: Final[Mapping[Scenario, Behaviour]] = {
    "interruption": "RESPOND",
    "backchannel": "RESUME",
    "talking-to-others": "RESUME",
    "background-speech": "RESUME",
}
USER_GAP: Final = 0.6  # seconds: shorter pauses of the user are closed
MODEL_GAP: Final = 0.5  # seconds
FRAME: Final = 0.03  # seconds
DROP: Final = 18.0  # dB from one frame to the next
ABOVE_FLOOR: Final = 6.0  # dB
FLOOR: Final = 10.0  # percentile
HISTORY: Final = 30  # frames, whose floor is taken


def handled(scenario: Scenario, behaviour: Behaviour) -> bool:
    """Returns whether the model did what is wanted: to answer an interruption, else to go on."""
    return WANTED[scenario] == behaviour


def stop_latencies(user: Iterable[Segment], model: Iterable[Segment]) -> list[float]:
    """Returns for every overlap of a user's and a model's segment its length in seconds, in order of its end.

    Overlaps that end in the same millisecond count once, with the shortest length.
    """
    users, models = merge(user, USER_GAP), merge(model, MODEL_GAP)
    overlaps = [Segment(max(one.start, other.start), min(one.end, other.end)) for one in users for other in models]
    shortest: dict[int, float] = {}
    for overlap in overlaps:
        if overlap.seconds > 0:
            end = round(1000 * overlap.end)
            shortest[end] = min(overlap.seconds, shortest.get(end, overlap.seconds))
    return [shortest[end] for end in sorted(shortest)]


def response_latencies(user: Iterable[Segment], model: Iterable[Segment]) -> list[float]:
    """Returns the seconds from an end of the user's speech to the next start of the model's, in order of time.

    Of several ends before the same start the last counts; an end without a start after it counts nowhere.
    """
    ends = [segment.end for segment in merge(user, USER_GAP)]
    latencies: dict[float, float] = {}
    for end in ends:
        start = next((segment.start for segment in merge(model, MODEL_GAP) if segment.start > end), None)
        if start is not None:
            latencies[start] = start - end
    return list(latencies.values())


def before_and_after(words: Sequence[Word], overlap_end: float) -> tuple[list[Word], list[Word]]:
    """Divides the model's words where the overlap ends; a word across that time is after it."""
    return [word for word in words if word.end <= overlap_end], [word for word in words if word.end > overlap_end]


def words_per_minute(words: Sequence[Word]) -> float:
    """Returns the words in a minute between the first word's start and the last word's end; 0 for no time."""
    seconds = span(words)
    return 60 * len(words) / seconds if seconds > 0 else 0.0


def cut_offs(wave: Float[np.ndarray, " N"], rate: int) -> list[float]:
    """Finds where the level drops suddenly.

    Frames have 30 ms. A drop is of 18 dB or more from one frame to the next, where the former is at least 6 dB above
    the floor, the 10th percentile of the last 30 frames, the later of the two included. The floor has to have been
    heard: an end after a whole second of even level is none by this rule.

    Args:
      wave: mono in -1..1.
      rate: samples per second.

    Returns:
      The times in seconds at which the level has dropped.
    """
    frame = round(rate * FRAME)
    found = levels(wave, frame)
    times = []
    for i in range(1, len(found)):
        # The official history begins with the second frame of the file.
        floor = float(np.percentile(found[max(1, i + 1 - HISTORY) : i + 1], FLOOR))
        if found[i - 1] - found[i] >= DROP and found[i - 1] >= floor + ABOVE_FLOOR:
            times.append(i * frame / rate)
    return times
