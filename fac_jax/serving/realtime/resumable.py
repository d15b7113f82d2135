"""The sessions of a server that clients can resume after they have lost their connection."""

import asyncio
import contextlib
import dataclasses
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final, TypeVar

from fac_jax.serving import logs
from fac_jax.serving.config import Limits
from fac_jax.serving.realtime.session_files import SessionFiles
from fac_jax.serving.realtime.state import State

SAVED_S: Final = 1.0  # between looks at what has changed; a server that is killed loses no more
MARKED: Final = 0.25  # of the time for which a session is kept: as often the files of a running one are marked
SLACK_S: Final = 1.0  # that a session is kept longer than is promised

Value = TypeVar("Value")


@dataclasses.dataclass(eq=False)
class _Open:
    """A session that has a connection: whose it is, what ends the connection, and when that has happened."""

    client: str
    hand_over: Callable[[], None]
    left: asyncio.Event


class Resumable:
    """The sessions that can be resumed: those that run, and for a while those whose connection was lost.

    A session that runs is resumed by its own client alone, whose older connection is ended; it may be one that nobody
    has noticed to be dead. With `files` sessions outlive the server, and other servers can resume them.
    """

    def __init__(self, limits: Limits, forget: Callable[[str], None], files: SessionFiles | None) -> None:
        """Begins without any connection; files of sessions that nobody can resume any more are removed.

        Args:
          limits: of every client.
          forget: frees what the engine keeps of a session.
          files: where sessions are kept beyond the life of the server; None for nowhere.
        """
        self._limits, self._forget, self._files = limits, forget, files
        self._open: dict[str, _Open] = {}
        self._parked: OrderedDict[str, tuple[State, asyncio.TimerHandle]] = OrderedDict()
        if files is not None:
            files.sweep(limits.resume_s)

    def runs(self, session_id: str, client: str) -> bool:
        """Returns whether a session of this client has a connection here."""
        running = self._open.get(session_id)
        return running is not None and running.client == client

    def keeps(self, session_id: str, client: str) -> bool:
        """Returns whether a session of this client, whose connection was lost, is kept in the memory of this server."""
        return session_id in self._parked and self._parked[session_id][0].client == client

    async def take(self, session_id: str, client: str) -> State | None:
        """Returns a session to go on with; None if there is none that this client can resume."""
        if self.runs(session_id, client):
            running = self._open[session_id]
            running.hand_over()
            await running.left.wait()
        state = self._parked[session_id][0] if session_id in self._parked else None
        if self._files is not None:
            stored = await asyncio.to_thread(self._files.load, session_id, self._limits.resume_s)
            if stored is not None and (state is None or stored.connection > state.connection):
                state = stored
        if state is None or state.client != client:
            return None
        self._unpark(session_id)
        return state

    @contextlib.contextmanager
    def connected(self, session_id: str, client: str, hand_over: Callable[[], None]) -> Iterator[None]:
        """Knows a session while it has a connection; `hand_over` ends that without a delay."""
        running = self._open[session_id] = _Open(client, hand_over, asyncio.Event())
        try:
            yield
        finally:
            if self._open.get(session_id) is running:
                del self._open[session_id]
            running.left.set()

    @contextlib.asynccontextmanager
    async def saved(self, changes: Callable[[], int], state: Callable[[], State]) -> AsyncIterator[None]:
        """Keeps the files of a session up to date for the length of a block, where there are files.

        Args:
          changes: returns a number that grows when something has changed.
          state: returns the session.
        """
        over = asyncio.Event()
        saving = asyncio.ensure_future(self._save(changes, state, over))
        try:
            yield
        finally:
            over.set()
            await saving

    async def park(self, state: State) -> None:
        """Keeps a session whose connection was lost, until its client resumes it or the time for that is over."""
        if self._files is not None:
            await _written(self._files.save, state)
        while len(self._parked) >= self._limits.sessions:
            self._drop(next(iter(self._parked)))
        timer = asyncio.get_running_loop().call_later(self._limits.resume_s + SLACK_S, self._drop, state.id)
        self._parked[state.id] = state, timer

    async def end(self, session_id: str) -> None:
        """Forgets a session that has ended."""
        self._forget(session_id)
        if self._files is not None:
            await asyncio.to_thread(self._files.remove, session_id)

    async def _save(self, changes: Callable[[], int], state: Callable[[], State], over: asyncio.Event) -> None:
        if self._files is None:
            return
        saved, marked, loop = -1, 0.0, asyncio.get_running_loop()
        while not over.is_set():
            now, changed = loop.time(), changes()
            if changed != saved:
                await _written(self._files.save, state())
                saved, marked = changed, now
            elif now - marked >= MARKED * self._limits.resume_s:
                await _written(self._files.keep, state().id)
                marked = now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVED_S):
                    await over.wait()

    def _unpark(self, session_id: str) -> None:
        if session_id in self._parked:
            self._parked.pop(session_id)[1].cancel()

    def _drop(self, session_id: str) -> None:
        """Forgets a session that nobody has resumed here; its files stay if another server goes on with it."""
        self._unpark(session_id)
        self._forget(session_id)
        if self._files is not None:
            asyncio.get_running_loop().run_in_executor(None, self._files.sweep, self._limits.resume_s)


async def _written(write: Callable[[Value], None], value: Value) -> None:
    """Writes in a thread; a disk that cannot be written to ends no talk."""
    try:
        await asyncio.to_thread(write, value)
    except OSError as error:
        logs.exception("session.not_saved", error)
