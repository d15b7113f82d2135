"""A call of a call pool, as its session sees it."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np
from jaxtyping import Float32, Int32

from fac_jax.generation.duplex.live_call import LiveCall
from fac_jax.generation.duplex.record import Step
from fac_jax.serving.live.line import Block, Line


@dataclasses.dataclass(frozen=True, eq=False)
class Stepped:
    """The slot of a call that comes: what the assistant does in it, what its text goes on with, and its codec ids."""

    step: Step
    text: str
    units: Int32[np.ndarray, " T"]


@dataclasses.dataclass(frozen=True, eq=False)
class Sounded:
    """What the speech of a turn goes on with, at the codec's rate; turns of a call count from 0."""

    turn: int
    wave: Float32[np.ndarray, " N"]
    last: bool


@dataclasses.dataclass(frozen=True)
class Refused:
    """Something that was asked for is not done: the call does not begin, or ends, or has not the new prompt."""

    code: str
    message: str


Told: TypeAlias = Stepped | Sounded | Refused


class Thread(Protocol):
    """The part of a call pool that a call needs."""

    def do(self, command: Callable[[], None]) -> None:
        """Has the thread do something."""
        ...

    def instruct(self, call: "PoolCall", system: str) -> None: ...
    def leave(self, call: "PoolCall") -> None: ...


class PoolCall:
    """A call; its methods are called in the loop, except for `tell`. The thread owns the attributes.

    Attributes:
      line: what the client says.
      live: its place; None where it has none.
      voice: name of the speaker; None for the codec's own.
      turn: number of the last turn of the assistant, -1 before the first.
      ids: text ids of that turn.
      characters: of its text that were told.
    """

    def __init__(self, thread: Thread, voice: str | None, deliver: Callable[[Told], None]) -> None:
        """Makes a call without a place; `deliver` is called in the running loop."""
        self._thread, self._deliver, self._loop = thread, deliver, asyncio.get_running_loop()
        self._left = False
        self.line, self.voice = Line(), voice
        self.live: LiveCall | None = None
        self.turn, self.characters = -1, 0
        self.ids: list[int] = []

    def push(self, block: Block | None) -> None:
        """Takes the next slot of the client at 16 kHz; None if it did not come in time."""
        now = time.monotonic()
        self._thread.do(lambda: self.line.push(block, now))

    def instruct(self, system: str) -> None:
        """Gives the call another system prompt, with which it goes on as after a roll-over."""
        self._thread.do(lambda: self._thread.instruct(self, system))

    def played(self, turn: int, slots: int) -> None:
        """Says how many slots of the speech of a turn the listener has heard; without it, that was all of it."""

        def note() -> None:
            if self.live is not None:
                self.live.played[turn] = slots

        self._thread.do(note)

    def leave(self) -> None:
        """Ends the call; nothing more is delivered."""
        self._left = True
        self._thread.do(lambda: self._thread.leave(self))

    def tell(self, told: Told) -> None:
        """Hands something to the session; called by the thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
            self._loop.call_soon_threadsafe(self._hand_out, told)

    def _hand_out(self, told: Told) -> None:
        if not self._left:
            self._deliver(told)
