"""What detectors share: speech probabilities of short frames, and the turns that follow from them."""

import dataclasses
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float32

RATE = 16_000  # Hz of the audio that detectors hear


class SpeechDetector(Protocol):
    """Says how likely speech is; holds the state of one stream.

    Attributes:
      frame: samples of a frame at 16 kHz.
    """

    frame: int

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """Takes samples at 16 kHz, any number of them, which are heard with those of the next `push`.

        A detector may hear what several streams have taken together, which costs less than one after the other.
        """
        ...

    def push(self, samples: Float32[np.ndarray, " N"]) -> Float32[np.ndarray, " F"]:
        """Takes samples at 16 kHz, any number of them, and returns the probability of every frame that is full."""
        ...


@dataclasses.dataclass(frozen=True)
class TurnSettings:
    """When a user's turn begins and ends.

    Attributes:
      threshold: probability above which a frame is speech.
      prefix_padding_ms: audio before the onset that belongs to the turn.
      silence_duration_ms: silence that ends a turn.
      guard: added to the threshold while the model is heard, against its echo; the onset then takes 200 ms more.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    guard: float = 0.2


@dataclasses.dataclass(frozen=True)
class Started:
    """A turn has begun; `ms` counts all audio of the stream, padding included in the turn."""

    ms: int


@dataclasses.dataclass(frozen=True)
class Stopped:
    """A turn has ended; `ms` counts all audio of the stream."""

    ms: int


TurnEvent: TypeAlias = Started | Stopped


class TurnDetector(Protocol):
    """Finds the turns in one stream of audio."""

    @property
    def probability(self) -> float:
        """Returns how likely speech is in the last full frame; 0 before the first."""
        ...

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """Takes samples at 16 kHz, which are heard with those of the next `push`; see `SpeechDetector`."""
        ...

    def push(self, samples: Float32[np.ndarray, " N"], model_heard: bool = False) -> list[TurnEvent]:
        """Takes samples at 16 kHz and returns what has happened; `model_heard` says that a reply is being played."""
        ...

    def reset(self) -> None:
        """Forgets a turn that has begun, as after a commit or clear by hand; the clock goes on."""
        ...
