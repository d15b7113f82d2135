"""Runs a session: between its socket, the engine and time."""

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

from fac_jax.serving.realtime.desk import Ask, Close, Out, Played, Stop, Take
from fac_jax.serving.realtime.outbox import Outbox
from fac_jax.serving.realtime.rounds import Rounds
from fac_jax.serving.realtime.session import Session
from fac_jax.serving.talk import Ended, Engine, Event, Handle
from fac_jax.types import InputError

TICK_S: Final = 0.2
REST_S: Final = 5.0  # for the engine to end what is under way


class Clock(Protocol):
    """Time, which tests bring along themselves."""

    def time(self) -> float:
        """Returns seconds, from any beginning."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        ...


class LoopClock:
    """The time of the event loop."""

    def time(self) -> float:
        """Returns seconds, from any beginning."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)


class Driver:
    """Does what a session says: sends its events, asks the engine, and lets time pass."""

    def __init__(self, session: Session, engine: Engine, outbox: Outbox, clock: Clock, rounds: Rounds) -> None:
        self._session, self._engine, self._outbox, self._clock = session, engine, outbox, clock
        self._rounds, self._waiting = rounds, asyncio.Event()
        self._handles: dict[str, Handle] = {}
        self._takes: set[asyncio.Task[None]] = set()
        self._resting = False
        self._rested = asyncio.Event()  # set once nothing is under way, after `rest` was called
        self._fault: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, receive: Callable[[], Awaitable[str | bytes]]) -> None:
        """Talks until the connection is closed; `rest` or `leave` follows.

        Args:
          receive: returns the next message of the client.

        Raises:
          WebSocketDisconnect: the client has closed it.
        """
        self._do(self._session.start())
        sending = asyncio.ensure_future(self._outbox.run())
        others = [asyncio.ensure_future(one) for one in (self._receive(receive), self._hear(), self._tick())]
        tasks = [sending, *others, self._fault, self._over]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (sending, *others):
                task.cancel()
            await asyncio.gather(sending, *others, return_exceptions=True)

    async def rest(self) -> None:
        """Ends what is under way, and waits until the engine has ended it, so that the session can be resumed."""
        self._resting = True
        for out in self._session.rest():
            if isinstance(out, Stop) and out.reply_id in self._handles:
                self._handles[out.reply_id].cancel()
        self._look()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                await self._rested.wait()

    async def leave(self) -> None:
        """Ends what is under way, and forgets it."""
        self._resting = True
        self._session.rest()
        for handle in self._handles.values():
            handle.cancel()
        for taking in self._takes:
            taking.cancel()
        await asyncio.gather(*self._takes, return_exceptions=True)

    def hand_over(self) -> None:
        """Ends `run`, because another connection goes on with the session."""
        if not self._over.done():
            self._over.set_result(None)

    @property
    def handed_over(self) -> bool:
        """Returns whether another connection goes on with the session."""
        return self._over.done()

    def _look(self) -> None:
        if self._resting and not self._handles and not self._takes:
            self._rested.set()

    async def _receive(self, receive: Callable[[], Awaitable[str | bytes]]) -> None:
        while True:
            message = await receive()
            for outs in self._session.receive(message):
                self._do(outs)
                if self._session.full:
                    await self._round()
                await asyncio.sleep(0)  # a long message lets the others of the loop have their turn
            if self._session.waiting:
                self._waiting.set()

    async def _hear(self) -> None:
        while True:
            await self._waiting.wait()
            await self._round()
            if not self._session.waiting:
                self._waiting.clear()

    async def _round(self) -> None:
        await self._rounds.wait(self._session.offer)
        self._do(self._session.hear())

    async def _tick(self) -> None:
        while True:
            await self._clock.sleep(TICK_S)
            self._do(self._session.tick())

    def _do(self, outs: Iterable[Out]) -> None:
        if self._resting:
            return
        for out in outs:
            if isinstance(out, dict):
                self._outbox.put(out)
            elif isinstance(out, Ask):
                self._ask(out)
            elif isinstance(out, Stop):
                self._outbox.drop_audio(out.reply_id)
                if out.reply_id in self._handles:
                    self._handles[out.reply_id].cancel()
            elif isinstance(out, Played):
                if not self._outbox.busy and out.reply_id in self._handles:
                    self._handles[out.reply_id].played(out.seconds)
            elif isinstance(out, Take):
                taking = asyncio.ensure_future(self._take(out))
                self._takes.add(taking)
                taking.add_done_callback(self._taken)
            else:
                assert isinstance(out, Close)
                self._outbox.close(out.code)

    def _ask(self, ask: Ask) -> None:
        deliver = functools.partial(self._deliver, ask.reply_id)
        try:
            self._handles[ask.reply_id] = self._engine.submit(ask.request, deliver)
        except InputError as error:
            deliver(Ended("failed", None, str(error)))

    def _deliver(self, reply_id: str, event: Event) -> None:
        """Takes an event of the engine, in the loop; a fault of ours must not be one of the engine."""
        if isinstance(event, Ended):
            self._handles.pop(reply_id, None)
        if self._fault.done():
            return
        try:
            self._do(self._session.follow(reply_id, event))
        except Exception as error:
            self._fault.set_exception(error)
        self._look()

    async def _take(self, take: Take) -> None:
        try:
            wave, features = await take.listening.close()
        except asyncio.CancelledError:
            take.listening.drop()
            raise
        self._do(self._session.taken(take.item_id, wave, features))

    def _taken(self, taking: asyncio.Task[None]) -> None:
        self._takes.discard(taking)
        if not taking.cancelled() and taking.exception() is not None and not self._fault.done():
            self._fault.set_exception(taking.exception() or RuntimeError())
        self._look()
