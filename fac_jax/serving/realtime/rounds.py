"""Rounds in which the sessions of a server hear: what has come in a round is one call of the detector's network."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

ROUND_S: Final = 0.016  # half of the frame that Silero's network hears


class Rounds:
    """Ends a round a while after somebody has begun to wait for its end, when the detector has heard all of it.

    With fifty talks, a call of the network for each of them takes twice as long as one for a dozen of them, and every
    call lets another thread have Python, which gives it back late. The network hears in a thread of its own, so that
    the loop serves the sockets meanwhile; audio that comes while it does is of the next round.
    """

    def __init__(self, hear: Callable[[], None] | None = None, seconds: float = ROUND_S) -> None:
        """Begins without a round.

        Args:
          hear: hears what all streams have taken; None if each is heard by itself.
          seconds: that a round takes.
        """
        self._hear, self._seconds = hear, seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="detector")
        self._end: asyncio.Future[None] | None = None  # of the round that runs
        self._offers: list[Callable[[], None]] = []  # of those who wait for it

    async def wait(self, offer: Callable[[], None]) -> None:
        """Waits for the end of the round; who comes first begins one.

        Args:
          offer: gives the detector what a session has, when the round's time is over and before all of it is heard.
        """
        loop = asyncio.get_running_loop()
        if self._end is None:
            self._end = loop.create_future()
            loop.call_later(self._seconds, self._over, self._end)
        self._offers.append(offer)
        await asyncio.shield(self._end)

    def _over(self, end: asyncio.Future[None]) -> None:
        self._end = None
        offers, self._offers = self._offers, []
        for offer in offers:
            offer()
        if self._hear is None:
            end.set_result(None)
            return
        hearing = asyncio.get_running_loop().run_in_executor(self._thread, self._hear)
        hearing.add_done_callback(lambda heard: _hand_on(heard, end))


def _hand_on(heard: asyncio.Future[None], end: asyncio.Future[None]) -> None:
    """Ends a round as the hearing of it has ended."""
    error = None if heard.cancelled() else heard.exception()
    if error is None:
        end.set_result(None)
    else:
        end.set_exception(error)
