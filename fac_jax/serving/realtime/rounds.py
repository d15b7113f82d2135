"""Rounds in which the sessions of a server hear: what has come in a round is one call of the detector's network."""

import asyncio
from typing import Final

ROUND_S: Final = 0.016  # half of the frame that Silero's network hears


class Rounds:
    """Ends a round a while after somebody has begun to wait for its end.

    With fifty talks, a call of the network for each of them takes twice as long as one for a dozen of them, and every
    call lets another thread have Python, which gives it back late.
    """

    def __init__(self, seconds: float = ROUND_S) -> None:
        """Begins without a round; each takes so many seconds."""
        self._seconds = seconds
        self._end: asyncio.Event | None = None  # of the round that runs

    async def wait(self) -> None:
        """Waits for the end of the round; who comes first begins one."""
        if self._end is None:
            self._end = asyncio.Event()
            asyncio.get_running_loop().call_later(self._seconds, self._over)
        await self._end.wait()

    def _over(self) -> None:
        ended, self._end = self._end, None
        assert ended is not None
        ended.set()
