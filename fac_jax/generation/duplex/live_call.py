"""A call in its place, and how it is answered."""

import dataclasses
from typing import Final

from fac_jax.generation.duplex.record import Record, Step
from fac_jax.generation.sampling import GREEDY, Sampling
from fac_jax.text import chat


@dataclasses.dataclass(frozen=True)
class CallOptions:
    """How a call is answered.

    Attributes:
      seed: of the draws.
      greets: whether the assistant speaks first.
      start_bias: eagerness to start, in nats (`state.Options`); None for the model's own.
      stop_bias: eagerness to stop, in nats; None for the model's own.
      text: picking of the text stream.
      speech: picking of the speech stream.
    """

    seed: int = 0
    greets: bool = False
    start_bias: float | None = None
    stop_bias: float | None = None
    text: Sampling = GREEDY
    speech: Sampling = GREEDY

    @property
    def draws(self) -> bool:
        """Returns whether an id of either stream is drawn."""
        return any(stream.temperature > 0 for stream in (self.text, self.speech))


USUAL: Final = CallOptions()


@dataclasses.dataclass(eq=False)
class LiveCall:
    """A call in its place.

    Attributes:
      place: number of the place.
      system: system prompt.
      options: how it is answered.
      record: what the assistant has said.
      slots: slots that have run.
      fresh: slots since it began, or was rolled over.
      next: what the assistant does in the slot that comes; None before the call has begun.
      history: turns of text before the call.
      played: how many slots of the speech of a turn, which counts from 0, the listener has heard; all if not told.
      rolling: whether it is being rolled over.
    """

    place: int
    system: str
    options: CallOptions
    record: Record
    slots: int = 0
    fresh: int = 0
    next: Step | None = None
    history: tuple[chat.Turn, ...] = ()
    played: dict[int, int] = dataclasses.field(default_factory=dict)
    rolling: bool = False
