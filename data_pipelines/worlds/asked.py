"""A row of the worlds of the benchmarks before it is spoken, and the voices, sums and counts that such rows are of."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np

from data_pipelines.worlds.arithmetic import Pair, WorldConfig, split_pairs
from data_pipelines.worlds.espeak import Voice
from data_pipelines.worlds.sounds import Sound

T = TypeVar("T")
RATES: Final = (150, 205)  # words per minute of users
PITCHES: Final = (25, 75)


@dataclasses.dataclass(frozen=True)
class Asked:
    """A row: what is heard, the reply, and what a benchmark writes beside it.

    Attributes:
      id: unique in its split; the name of its audio file.
      heard: the words that `voice` says, or the sound.
      reply: the right reply.
      rejected: a wrong one, for a preference pair.
      voice: of the words; None for words that are read as text, and for a sound.
      system: system prompt; None for that of text replies.
      instruction: text after the audio.
      fields: the row's own fields in its benchmark.
    """

    id: str
    heard: str | Sound
    reply: str
    rejected: str
    voice: Voice | None = None
    system: str | None = None
    instruction: str = ""
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Draw:
    """What the rows of one split draw: each of several things once, in a random order, before any comes again.

    Attributes:
      rng: generator of all draws.
      pairs: the split's sums.
      held_out: whether it is the split that is judged.
    """

    def __init__(self, world: WorldConfig, held_out: bool, part: int) -> None:
        """Makes the draws of a split; `part` numbers the kind of rows, so that kinds do not depend on each other."""
        self.rng = np.random.default_rng((world.seed, 7, held_out, part))
        self.held_out = held_out
        self.pairs: list[Pair] = split_pairs(world)["test" if held_out else "train"]
        self._names = self.turns(world.test_voices if held_out else world.train_voices)
        self._pairs = self.turns(self.pairs)

    def turns(self, values: Sequence[T]) -> Iterator[T]:
        """Yields the values without end, in a new order each time."""
        while True:
            yield from (values[int(i)] for i in self.rng.permutation(len(values)))

    def voice(self, name: str | None = None, pitches: tuple[int, int] = PITCHES) -> Voice:
        """Returns the next voice, or the named one, at a random rate and pitch."""
        rate, pitch = (int(self.rng.integers(low, high + 1)) for low, high in (RATES, pitches))
        return Voice(name or next(self._names), rate, pitch)

    def pair(self) -> Pair:
        """Returns the next sum."""
        return next(self._pairs)

    def one(self, values: Sequence[T]) -> T:
        """Returns a random one."""
        return values[int(self.rng.integers(len(values)))]
