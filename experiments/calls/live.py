"""When an answer is heard in what the client of a server plays."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from fac_jax.audio.mel import RATE
from fac_jax.evaluation.benchmarks.duplex.voice_activity import VoiceActivity


@dataclasses.dataclass(frozen=True)
class LiveAnswer:
    """What came of a call.

    Attributes:
      early: whether somebody was heard before the user's end.
      latency: seconds from the user's end to the first sound after it; None if there was none.
    """

    early: bool
    latency: float | None


def live_answer(played: Float32[np.ndarray, " N"], detector: VoiceActivity, start: int, end: int) -> LiveAnswer:
    """Finds the answer in what a client plays.

    Args:
      played: from the call's begin on, at 16 kHz.
      detector: finds speech in it.
      start: sample at which the user begins; what was heard until then is a greeting.
      end: sample at which the user's question ends.
    """
    heard = [one for one in detector(played, RATE) if one.end > start / RATE]
    after = next((one.start - end / RATE for one in heard if one.start >= end / RATE), None)
    return LiveAnswer(any(one.start < end / RATE for one in heard), after)
