"""The engine's thread: it obeys commands, runs the core's turns, and hands events to the loops of their requests."""

import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final, TypeAlias

from fac_jax.serving.engine.core import REST_S, Core
from fac_jax.serving.engine.handle import Handle
from fac_jax.serving.engine.talks import Talk
from fac_jax.serving.talk import Event
from fac_jax.text.special_ids import SpecialIds

BEAT_S: Final = 5.0  # seconds without a turn after which the thread counts as hung
RESTARTS: Final = 1
STOPPED: Final = "the server stops"

_log = logging.getLogger(__name__)


class Over:
    """Stands in for a core that is there no more: every request fails."""

    wait_s = REST_S
    room = False

    def __init__(self, error: str, special: SpecialIds) -> None:
        """Takes what requests are told."""
        self._error, self._special = error, special

    def submit(self, talk: Talk) -> None:
        """See `Core`."""
        talk.end("failed", self._special, self._error)

    def cancel(self, talk: Talk) -> None:
        """See `Core`; there is nothing to cancel."""

    def forget(self, session: str) -> None:
        """See `Core`; there is nothing to forget."""

    def turn(self, between: Callable[[], None]) -> None:
        """See `Core`; there is nothing to do."""


Command: TypeAlias = Callable[[Core | Over], None]


class Worker:
    """A thread that alone touches the device.

    A fault ends the replies that are under way, and the thread goes on with fresh slots; a second one ends all.
    """

    def __init__(self, make: Callable[[], Core], special: SpecialIds) -> None:
        """`make` makes the core, in the thread, and compiles everything."""
        self._make, self._special = make, special
        self._commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._outbox: list[tuple[Handle, Event]] = []
        self._core: Core | Over | None = None  # None until everything is compiled
        self._error: Exception | None = None
        self._warm, self._stopping = threading.Event(), False
        self._faults, self._beat = 0, 0.0
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def wait(self) -> None:
        """Waits until everything is compiled; raises what kept it from that."""
        self._warm.wait()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Ends all requests, as failed, and the thread."""
        self._stopping = True
        self.wake()
        self._thread.join()

    @property
    def ready(self) -> bool:
        """Returns whether everything is compiled, and more talks may come."""
        return self._core is not None and self._core.room

    @property
    def alive(self) -> bool:
        """Returns whether the thread goes on; it does while it compiles, and does not after a second fault."""
        if not self._thread.is_alive() or isinstance(self._core, Over):
            return False
        return self._core is None or time.monotonic() - self._beat < BEAT_S

    @property
    def kept(self) -> int:
        """Returns the number of sessions of which something is kept."""
        return self._core.sessions.kept if isinstance(self._core, Core) else 0

    def do(self, command: Command) -> None:
        """Has the thread do something, in any thread."""
        self._commands.put(command)

    def wake(self) -> None:
        """Has the thread take its next turn at once, in any thread."""
        self.do(lambda _: None)

    def tell(self, handle: Handle, event: Event) -> None:
        """Hands an event out at the end of the turn; called by the thread."""
        self._outbox.append((handle, event))

    def _run(self) -> None:
        try:
            self._core = self._make()
        except Exception as error:
            _log.exception("the engine could not be started")
            self._error, self._core = error, Over(_line(error), self._special)
        self._beat = time.monotonic()
        self._warm.set()
        while not self._stopping:
            self._beat = time.monotonic()
            try:
                self._obey(self._core, wait=True)
                self._core.turn(self._between)
            except Exception as error:
                _log.exception("the engine failed")
                self._core = self._recovered(self._core, _line(error))
            self._flush()
        self._core = self._over(self._core, STOPPED)
        self._obey(self._core, wait=False)
        self._flush()

    def _between(self) -> None:
        """Hands out what there is to tell, and obeys what has come since the turn began."""
        self._flush()
        assert self._core is not None
        self._obey(self._core, wait=False)

    def _obey(self, core: Core | Over, wait: bool) -> None:
        """Obeys all commands; `wait` is whether to wait for one while there is nothing else to do."""
        wait_s = core.wait_s if wait and not self._stopping else 0.0
        try:
            command = self._commands.get(timeout=wait_s) if wait_s else self._commands.get_nowait()
            while True:
                command(core)
                command = self._commands.get_nowait()
        except queue.Empty:
            return

    def _recovered(self, core: Core | Over, error: str) -> Core | Over:
        """Ends the replies that are under way, and returns what goes on."""
        self._faults += 1
        if isinstance(core, Core) and self._faults <= RESTARTS:
            core.fail(error)
            try:
                core.restart()
                return core
            except (RuntimeError, ValueError):  # of the device
                _log.exception("the engine could not be started again")
        return self._over(core, error)

    def _over(self, core: Core | Over, error: str) -> Over:
        """Ends all requests."""
        if isinstance(core, Core):
            core.close(error)
        return Over(error, self._special)

    def _flush(self) -> None:
        """Hands all events of a turn to their loops, each of which is woken once."""
        told: dict[object, list[tuple[Handle, Event]]] = defaultdict(list)
        for handle, event in self._outbox:
            told[handle.loop].append((handle, event))
        self._outbox.clear()
        for events in told.values():
            try:
                events[0][0].loop.call_soon_threadsafe(_hand_out, events)
            except RuntimeError:  # the loop is closed: nobody listens
                for handle, _ in events:
                    self.do(lambda core, talk=handle.talk: core.cancel(talk))


def _hand_out(events: list[tuple[Handle, Event]]) -> None:
    for handle, event in events:
        try:
            handle.hand_out(event)
        except Exception as error:  # one that raises keeps none from the others
            handle.loop.call_exception_handler({"message": "an event could not be delivered", "exception": error})


def _line(error: Exception) -> str:
    """Names an error without what it says, which may hold what users said."""
    return f"the engine failed ({type(error).__name__})"
