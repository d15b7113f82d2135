"""What the asyncio side holds of a request."""

import asyncio
import dataclasses
from collections.abc import Callable

from fac_jax.serving.engine.talks import Talk
from fac_jax.serving.talk import Deliver, Ended, Event, Step
from fac_jax.text.special_ids import SpecialIds


class Handle:
    """A `Handle` (`fac_jax.serving.talk`); all its methods are called in the loop.

    Attributes:
      loop: in which events are delivered.
      talk: the request in the engine.
    """

    def __init__(self, talk: Talk, deliver: Deliver, special: SpecialIds, cancel: Callable[[], None]) -> None:
        """Takes what cancels the request in the engine."""
        self.loop, self.talk = asyncio.get_running_loop(), talk
        self._deliver, self._special, self._cancel = deliver, special, cancel
        self._cancelled = False
        self._steps = 0  # that were delivered

    def cancel(self) -> None:
        """See `Handle`."""
        if not self._cancelled:
            self._cancelled = True
            self._cancel()

    def played(self, seconds: float) -> None:
        """See `Handle`."""
        self.talk.played = seconds

    def hand_out(self, event: Event) -> None:
        """Delivers an event. After `cancel` that is the end alone, with the reply as far as it was delivered."""
        if self._cancelled:
            if not isinstance(event, Ended):
                return
            reply = self.talk.made.reply(self._special, self._steps)
            event = dataclasses.replace(event, reason="cancelled", reply=reply)
        self._steps += isinstance(event, Step)
        self._deliver(event)
