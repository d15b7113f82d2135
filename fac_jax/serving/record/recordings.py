"""The recordings of a server, written by a thread of their own, for which no talk waits."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TypeAlias

from fac_jax.serving import logs
from fac_jax.serving.record.recording import Recording, Side

EVENTS_BYTES: Final = 64 << 20  # of the events of a talk
RESERVE_BYTES: Final = 1 << 30  # of the disk that stay free
WAITING: Final = 20_000  # events of all talks that wait for the disk; more end the recording of their talk

_Work: TypeAlias = Callable[[], None]


class Recordings:
    """Records talks in a folder, or nothing where there is none."""

    def __init__(self, folder: Path | None, reserve_bytes: int = RESERVE_BYTES) -> None:
        """Begins without any; the thread starts with the first talk."""
        self._folder, self._reserve = folder, reserve_bytes
        self._work: queue.Queue[_Work] = queue.Queue(WAITING)
        self._thread: threading.Thread | None = None

    def begin(self, session_id: str) -> "Tap":
        """Begins the recording of a talk."""
        if self._folder is None:
            return Tap(None, session_id, self._do)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="recordings", daemon=True)
            self._thread.start()
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{session_id}"
        return Tap(lambda: Recording(self._folder_of(name), EVENTS_BYTES, self._reserve), session_id, self._do)

    def wait(self) -> None:
        """Waits until everything that was told so far is on the disk."""
        if self._thread is not None:
            self._work.join()

    def _folder_of(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name

    def _do(self, work: _Work) -> bool:
        """Has the thread do something; returns whether it has a place for it."""
        try:
            self._work.put_nowait(work)
        except queue.Full:
            return False
        return True

    def _run(self) -> None:
        while True:
            work = self._work.get()
            try:
                work()
            finally:
                self._work.task_done()


class Tap:
    """What a connection tells its recording; its methods return at once."""

    def __init__(self, make: Callable[[], Recording] | None, session_id: str, do: Callable[[_Work], bool]) -> None:
        """Begins with a time of 0; `make` makes the recording, and is None where none is wanted."""
        self._make, self._session, self._do = make, session_id, do
        self._began = time.monotonic()
        self._recording: Recording | None = None  # of the thread
        self._over = make is None

    def client(self, message: str | bytes) -> None:
        """Takes a message of the client."""
        if not self._over:
            self._tell("client", lambda: _parsed(message))

    def server(self, event: Mapping[str, Any]) -> None:
        """Takes an event of the server; it must not be changed any more."""
        if not self._over:
            self._tell("server", lambda: event)

    def close(self) -> None:
        """Ends the recording."""
        if not self._over:
            self._over = True
            seconds = time.monotonic() - self._began
            if not self._do(lambda: self._close(seconds)):
                logs.event("recording.lost", session=self._session)

    def _tell(self, side: Side, event: Callable[[], Mapping[str, Any]]) -> None:
        seconds = time.monotonic() - self._began
        if not self._do(lambda: self._add(seconds, side, event())):
            self.close()

    def _add(self, seconds: float, side: Side, event: Mapping[str, Any]) -> None:
        """Adds an event; called by the thread."""
        try:
            if self._recording is None and self._make is not None:
                self._recording, self._make = self._make(), None
            if self._recording is not None:
                self._recording.add(seconds, side, event)
                if self._recording.full:
                    logs.event("recording.full", session=self._session)
                    self._close(seconds)
        except OSError as error:
            logs.exception("recording.failed", error, session=self._session)
            self._over, self._recording = True, None

    def _close(self, seconds: float) -> None:
        recording, self._recording = self._recording, None
        self._over = True
        if recording is not None:
            try:
                recording.close(seconds)
            except OSError as error:
                logs.exception("recording.failed", error, session=self._session)


def _parsed(message: str | bytes) -> Mapping[str, Any]:
    """Returns a message of a client as an event; what is none by its length."""
    with contextlib.suppress(ValueError, RecursionError):
        event = json.loads(message)
        if isinstance(event, dict):
            json.dumps(event, ensure_ascii=False).encode()  # a lone half of a character cannot be written
            return event
    return {"type": "not JSON", "length": len(message)}
