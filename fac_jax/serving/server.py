"""What every endpoint of a server has at hand."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fac_jax.serving.config import ServerConfig
from fac_jax.serving.detect.base import TurnDetector, TurnSettings
from fac_jax.serving.live.call_pool import CallPool
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.realtime.resumable import Resumable
from fac_jax.serving.realtime.rounds import Rounds
from fac_jax.serving.realtime.session_files import SessionFiles
from fac_jax.serving.record.recordings import Recordings
from fac_jax.serving.talk import Engine

SESSIONS: Final = "sessions"  # in the folder that servers share


@dataclasses.dataclass(frozen=True)
class Server:
    """A server.

    Attributes:
      engine: makes replies.
      config: settings of the server.
      detector: makes the detector of a stream.
      metrics: of the server.
      shared_dir: folder of several servers, or of one and those that come after it: sessions that can be resumed, and
        client secrets. None keeps both in memory.
      record_dir: folder in which talks are recorded; None for no recording.
      calls: of a full-duplex model, in which live sessions talk; None for a model that takes turns.
      rounds: in which sessions with a detector hear together.
    """

    engine: Engine
    config: ServerConfig
    detector: Callable[[TurnSettings], TurnDetector]
    metrics: Metrics
    shared_dir: Path | None = None
    record_dir: Path | None = None
    calls: CallPool | None = None
    rounds: Rounds = dataclasses.field(default_factory=Rounds)

    @functools.cached_property
    def resumable(self) -> Resumable:
        """Returns the sessions that clients can resume."""
        files = None if self.shared_dir is None else SessionFiles(self.shared_dir / SESSIONS)
        return Resumable(self.config.limits, self.engine.forget, files)

    @functools.cached_property
    def recordings(self) -> Recordings:
        """Returns what records talks."""
        return Recordings(self.record_dir)
