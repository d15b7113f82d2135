"""Settings of the engine."""

import dataclasses
from typing import Final

PROMPTS: Final = (32, 64, 128, 256, 512)
LEAST_KEPT: Final = 64  # LLM positions of the shortest program that copies a conversation out of a slot


@dataclasses.dataclass(frozen=True)
class EngineConfig:
    """How an engine is set up.

    Attributes:
      slots: replies that are made side by side; their memory is reserved at the start. None for as many as fit
        (`device.greatest_slots`).
      context: LLM positions of a slot, for a prompt and its reply; None for those of the model.
      prompts: LLM positions of the prompt programs, growing. A longer prompt is run in pieces of the last size, between
        which the other replies go on.
      places: replies that are spoken side by side; None for twice as many as slots: a reply leaves its slot before it
        is spoken to its end.
      queue: requests that may wait, for each slot; further ones are refused at once. With 8 slots there is room for one
        of each of 64 sessions.
      queue_ready: requests that may wait, for each slot, while `/ready` still asks for more talks.
      queue_s: seconds that a request may wait.
      host_bytes: of host memory for conversations that had to leave their slots.
      heard_bytes: of host memory for waves of users and what was encoded of them.
      ahead_s: seconds of speech that a reply may be ahead of its listener (`Handle.played`); it pauses beyond, and goes
        on when it is half as far ahead.
    """

    slots: int | None = 8
    context: int | None = None
    prompts: tuple[int, ...] = PROMPTS
    places: int | None = None
    queue: int = 7
    queue_ready: int = 2
    queue_s: float = 5.0
    host_bytes: int = 4 << 30
    heard_bytes: int = 256 << 20
    ahead_s: float = 2.0

    def sizes(self, context: int) -> tuple[int, ...]:
        """Returns the sizes of the prompt programs for slots of `context` positions."""
        return tuple(sorted({min(size, context) for size in self.prompts}))


def kept_sizes(context: int) -> tuple[int, ...]:
    """Returns the sizes of the programs that copy a conversation out of a slot: powers of two up to `context`."""
    powers = range(LEAST_KEPT.bit_length() - 1, context.bit_length())
    return (*(1 << power for power in powers if 1 << power < context), context)
