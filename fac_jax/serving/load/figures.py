"""What a load test measures of a talk, and the figures of many."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

Outcome: TypeAlias = Literal["completed", "incomplete", "failed", "cancelled", "vanished", "lost"]


class PlayOut:
    """A listener who plays a reply while it arrives: begins a little after its first audio, and waits where none is.

    Attributes:
      end: time in seconds at which all audio so far will have been played; 0 before the first.
      underruns: times that the listener had nothing to play in the middle of the reply.
      silent_s: seconds of these.
    """

    def __init__(self, buffer_s: float) -> None:
        self._buffer_s = buffer_s
        self.end = 0.0
        self.underruns = 0
        self.silent_s = 0.0

    def add(self, now: float, seconds: float) -> None:
        """Takes audio that arrives at the time `now` and lasts so many seconds."""
        if self.end == 0:
            self.end = now + self._buffer_s
        elif now > self.end:
            self.underruns += 1
            self.silent_s += now - self.end
            self.end = now
        self.end += seconds


@dataclasses.dataclass(eq=False)
class Turn:
    """One turn of a talk as its client saw it; times are seconds of one clock, None for what did not happen.

    Attributes:
      session: number of the session.
      number: of the turn in its connection, from 0.
      play: the reply being played.
      heard_ms: milliseconds of audio in which the server found the speech; None before its end.
      spoken: the last sample of the user's speech was sent.
      stopped: the server told the end of the speech.
      text: the first text of the reply came.
      audio: its first audio came.
      cancel: the client cancelled the reply.
      done: the reply ended.
      outcome: "lost" stands for a reply that did not come to an end.
      transcript: text of the reply.
      ids: text id and codec ids of every step of the reply, if the server tells them (`?events=fac`).
      late_s: greatest delay of the client itself in sending audio. Where it is large, the client is overloaded, and
        what it measured of the server is too long.
    """

    session: int
    number: int
    play: PlayOut
    heard_ms: int | None = None
    spoken: float | None = None
    stopped: float | None = None
    text: float | None = None
    audio: float | None = None
    cancel: float | None = None
    done: float | None = None
    outcome: Outcome = "lost"
    transcript: str = ""
    ids: list[tuple[int, ...]] = dataclasses.field(default_factory=list)
    late_s: float = 0.0


@dataclasses.dataclass(frozen=True)
class Percentiles:
    """Percentiles and the greatest of `count` durations in seconds; nan where there are none."""

    count: int
    p50: float
    p90: float
    p95: float
    p99: float
    most: float


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """Returns the percentiles of durations."""
    found = np.percentile(seconds, [50, 90, 95, 99, 100]) if seconds else np.full(5, np.nan)
    return Percentiles(len(seconds), *map(float, found))


@dataclasses.dataclass(frozen=True)
class Resource:
    """What a server holds of something.

    Attributes:
      early: median of the second fifth of the test, when everything that is kept for a while is there.
      late: median of its last fifth.
      after: when all clients had gone.
    """

    early: float
    late: float
    after: float


@dataclasses.dataclass(frozen=True)
class LoadReport:
    """The figures of a load test.

    Attributes:
      sessions: talks at once.
      seconds: that the test took.
      turns: numbers of turns by their outcome.
      detector: from the last sample of speech to the server's word that the speech has stopped.
      first_text: from there to the first text of the reply.
      first_audio: from there to the first audio of the reply.
      interrupt: from a client's cancel to the end of the reply.
      replies: replies with audio that were played to their end.
      underruns: times that a listener of these had nothing to play.
      silent_s: seconds of these.
      errors: numbers of errors by their code.
      late_s: greatest delay of the client itself in sending audio.
      resumed: sessions that went on after their connection was lost.
      client_cores: processor time of the clients, over the seconds of the test.
      server_cores: of the server; nan where it was not watched.
      resources: of the server, by the names of its metrics; none where it was not watched.
    """

    sessions: int
    seconds: float
    turns: Mapping[Outcome, int]
    detector: Percentiles
    first_text: Percentiles
    first_audio: Percentiles
    interrupt: Percentiles
    replies: int
    underruns: int
    silent_s: float
    errors: Mapping[str, int]
    late_s: float
    resumed: int = 0
    client_cores: float = np.nan
    server_cores: float = np.nan
    resources: Mapping[str, Resource] = dataclasses.field(default_factory=dict)


def summary(turns: Sequence[Turn], errors: Mapping[str, int], sessions: int, seconds: float) -> LoadReport:
    """Returns the figures of turns; those of the processes are left out."""
    played = [turn.play for turn in turns if turn.outcome in ("completed", "incomplete") and turn.audio is not None]
    return LoadReport(
        sessions=sessions,
        seconds=seconds,
        turns=dict(Counter(turn.outcome for turn in turns)),
        detector=_between((turn.spoken, turn.stopped) for turn in turns),
        first_text=_between((turn.stopped, turn.text) for turn in turns),
        first_audio=_between((turn.stopped, turn.audio) for turn in turns),
        interrupt=_between((turn.cancel, turn.done) for turn in turns if turn.outcome == "cancelled"),
        replies=len(played),
        underruns=sum(play.underruns for play in played),
        silent_s=sum(play.silent_s for play in played),
        errors=dict(errors),
        late_s=max((turn.late_s for turn in turns), default=0.0),
    )


def _between(times: Iterable[tuple[float | None, float | None]]) -> Percentiles:
    return percentiles([end - start for start, end in times if start is not None and end is not None])
