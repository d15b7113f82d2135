"""A model that listens while it speaks, in a session: for every slot that it hears, it says one.

See docs/duplex.md, "Serving". It takes the place of `HalfDuplex` in a session. The audio of a slot is sent as soon as
the tick has made it; what is sent is played, as a client has at most a slot of it in hand.
"""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import Turn
from fac_jax.duplex.call import SLOT, SLOT_SECONDS
from fac_jax.generation.duplex.live_call import CallOptions
from fac_jax.generation.duplex.state import Mode
from fac_jax.serving.live.call_pool import CallPool
from fac_jax.serving.live.events import audio_delta, error_event, transcript_delta
from fac_jax.serving.live.pool_call import PoolCall, Refused, Sounded, Stepped, Told
from fac_jax.serving.live.speaker import Spoken
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.server_events import ServerEvent, new_id, step
from fac_jax.serving.realtime.sound import ForDetector
from fac_jax.serving.server import Server
from fac_jax.serving.talk import Audio, Ended, Step
from fac_jax.text import chat
from fac_jax.text.prompts import SYSTEM_DUPLEX


@dataclasses.dataclass(eq=False)
class _Said:
    """A turn of the assistant: its number, its speech, and the steps of it that were made."""

    number: int
    spoken: Spoken
    steps: int = 0


class FullDuplex:
    """The model's side of a session, as `HalfDuplex`. All of its methods are called in the loop.

    Attributes:
      instructions: texts of the system prompt, in order; a text that comes later gives the call another prompt.
      positions: LLM positions of the call, its prompt not counted.
    """

    def __init__(
        self,
        server: Server,
        pool: CallPool,
        rate: int,
        history: Sequence[Turn],
        voice: str | None,
        tell: Callable[[ServerEvent], None],
        fac_events: bool,
    ) -> None:
        """Begins a session, in which the call begins with the first slot.

        Args:
          server: with the metrics.
          pool: has the places.
          rate: of the audio of both sides in Hz.
          history: turns of text before the session.
          voice: of the replies.
          tell: sends an event to the client.
          fac_events: whether the client wants the events of the page.
        """
        self.instructions: list[str] = []
        self.positions = 0
        self._server, self._pool, self._tell, self._fac_events = server, pool, tell, fac_events
        self._rate, self._voice = rate, voice
        self._history = [chat.Turn(turn.role, turn.text) for turn in history]
        self._to_model = ForDetector(rate)  # `Resampler` would keep up to 100 ms back
        self._ear: Float32[np.ndarray, " N"] | None = None  # at 16 kHz, that is no whole slot yet
        self._call: PoolCall | None = None
        self._instructed = 0
        self._refused = False
        self._turns: deque[_Said] = deque()  # that are not over
        self._opened = 0  # turns
        self._began_at = time.monotonic()

    def slot(self, samples: Float32[np.ndarray, " N"], late: bool) -> Float32[np.ndarray, " N"] | None:
        """Hears a slot of the user, which is silence if the user's audio is `late`.

        What the model says is told when it is made. Returns silence for a session that has no call.
        """
        if self._call is None:
            self._call = self._pool.join(self._system, self._history, CallOptions(), self._voice, self._follow)
        elif self._instructed < len(self.instructions):
            self._call.instruct(self._system)
        self._instructed = len(self.instructions)
        heard = self._to_model.push(samples)
        if self._ear is None:
            self._ear = np.zeros(max(0, SLOT - len(heard)), np.float32)  # what the resampler keeps back
        joined = np.concatenate([self._ear, heard])
        while len(joined) >= SLOT:
            block, joined = joined[:SLOT], joined[SLOT:]
            self._call.push(None if late else block)
        self._ear = joined
        return np.zeros(len(samples), np.float32) if self._refused else None

    def close(self) -> None:
        """Ends the call."""
        if self._call is not None:
            self._call.leave()

    @property
    def _system(self) -> str:
        return " ".join([SYSTEM_DUPLEX, *self.instructions])

    def _follow(self, told: Told) -> None:
        if isinstance(told, Refused):
            self._refused = self._refused or not self.positions
            self._tell(error_event(RefusedError(told.message, told.code, kind="server_error"), None))
        elif isinstance(told, Sounded):
            self._sounded(told)
        else:
            self._stepped(told)

    def _sounded(self, told: Sounded) -> None:
        for said in self._turns:
            if said.number == told.turn:
                said.spoken.follow(Audio(told.wave))
                if told.last:
                    said.spoken.follow(Ended("stop", None))

    def _stepped(self, told: Stepped) -> None:
        """Takes the slot that comes, and sends its audio."""
        now, self.positions = told.step, told.step.slot
        if now.mode == Mode.OPENING:
            self._turns.append(_Said(self._opened, Spoken(new_id("resp"), self._pool.rate, self._rate)))
            self._opened += 1
        elif now.mode == Mode.TALKING:
            self._told(told)
        elif now.mode == Mode.CLOSING:
            self._turns[-1].spoken.follow(Step(self._turns[-1].steps, now.text_id, told.text, told.units))
        if not now.slot:  # it was over when it was known; nothing sounds in it
            return
        size = round(SLOT_SECONDS * self._rate)
        audio, text = self._play(size) if not now.cut else (self._cut(size), "")
        self._tell(audio_delta(audio))
        if text:
            start = round(now.slot * SLOT_SECONDS * 1000)
            self._tell(transcript_delta("output", text, start, start + round(SLOT_SECONDS * 1000)))

    def _told(self, told: Stepped) -> None:
        """Takes a step of the turn that is made."""
        said = self._turns[-1]
        said.spoken.follow(Step(said.steps, told.step.text_id, told.text, told.units))
        if self._fac_events:
            ms = round((time.monotonic() - self._began_at) * 1000)
            self._tell(step(said.spoken.id, said.steps, told.step.text_id, told.text, told.units.tolist(), ms))
        said.steps += 1

    def _play(self, size: int) -> tuple[Float32[np.ndarray, " N"], str]:
        """Plays a slot of the first turn that is not over."""
        while self._turns and self._turns[0].spoken.over:
            self._turns.popleft()
        if not self._turns:
            return np.zeros(size, np.float32), ""
        spoken = self._turns[0].spoken
        before = spoken.underruns
        audio, text = spoken.play(size, size // 2)
        self._server.metrics.underruns.inc(spoken.underruns - before)
        return audio, text

    def _cut(self, size: int) -> Float32[np.ndarray, " N"]:
        """Lets the turn that is made, and what is still played of one before it, fade."""
        assert self._call is not None
        last = self._turns[-1]
        audio = np.sum([said.spoken.fade(size) for said in self._turns], axis=0)
        self._call.played(last.number, round(last.spoken.heard_s / SLOT_SECONDS))
        return audio
