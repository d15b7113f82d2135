"""Sessions in a folder that servers share, so that a client can resume its session on another server.

Each session has a folder, whose name is a hash of its id: a request never names a path. In it is a JSON file for each
of its connections, and the waves of the user as float32 samples, little endian, at 16 kHz.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Final

import numpy as np

from fac_jax.io import replacing, write_text
from fac_jax.serving import logs
from fac_jax.serving.realtime.state import State
from fac_jax.serving.realtime.state_json import from_json, to_json

_JSON: Final = "connection-"
_WAVE: Final = ".f32"


class SessionFiles:
    """The folder. Its methods block; they may be called in any thread, those of one session one after the other."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder if it is absent; only its owner can read what is in it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def save(self, state: State) -> None:
        """Writes a session, unless another server has resumed it since."""
        folder = self._of(state.id)
        folder.mkdir(exist_ok=True, mode=0o700)
        if self._newest(folder) > state.connection:
            return
        told, waves = to_json(state)
        there = {file.name for file in folder.glob(f"*{_WAVE}")}
        for name in waves:
            if f"{name}{_WAVE}" not in there:
                with replacing(folder / f"{name}{_WAVE}") as part:
                    part.write_bytes(waves[name].astype("<f4").tobytes())
        write_text(folder / f"{_JSON}{state.connection}.json", json.dumps(told))
        for name in there - {f"{name}{_WAVE}" for name in waves}:
            (folder / name).unlink(missing_ok=True)

    def load(self, session_id: str, kept_s: float) -> State | None:
        """Returns the session as its last connection left it; None if it is absent, or older than `kept_s`."""
        folder = self._of(session_id)
        try:
            if _age(folder) > kept_s:
                return None
            told = json.loads((folder / f"{_JSON}{self._newest(folder)}.json").read_text("utf-8"))
            waves = {file.stem: np.fromfile(file, "<f4").astype(np.float32) for file in folder.glob(f"*{_WAVE}")}
            return from_json(told, waves)
        except FileNotFoundError:
            return None
        except (LookupError, OSError, TypeError, ValueError) as error:
            logs.exception("session.unreadable", error)
            return None

    def keep(self, session_id: str) -> None:
        """Says that a session goes on, though nothing of it has changed."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(self._of(session_id))

    def remove(self, session_id: str) -> None:
        """Forgets a session."""
        shutil.rmtree(self._of(session_id), ignore_errors=True)

    def sweep(self, kept_s: float) -> None:
        """Forgets the sessions that nobody can resume any more."""
        for folder in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another server sweeps too
                if _age(folder) > kept_s:
                    shutil.rmtree(folder, ignore_errors=True)

    def _of(self, session_id: str) -> Path:
        return self._folder / hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()

    def _newest(self, folder: Path) -> int:
        """Returns the greatest number of a connection that was saved; 0 for none."""
        return max((int(file.stem.removeprefix(_JSON)) for file in folder.glob(f"{_JSON}*.json")), default=0)


def _age(folder: Path) -> float:
    """Returns the seconds since something of a session was written; that changes its folder."""
    return time.time() - folder.stat().st_mtime
