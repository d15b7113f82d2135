"""One reply of the model while it is played in the slots of a live session."""

import asyncio
from collections import deque
from typing import Final

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.serving.realtime.sound import Resampler
from fac_jax.serving.talk import Audio, Ended, Engine, Event, Handle, Step

FADE_S: Final = 0.03  # in which a reply that is cut falls silent


class Spoken:
    """A reply from its request to the last of it that is played.

    Attributes:
      id: of the reply.
      ended: the engine's last event; None before.
      done: set when the engine has ended it.
      stopped: whether the user has interrupted it, or the session is over.
      underruns: slots in which it had nothing to play, though it had begun and was not over.
    """

    def __init__(self, name: str, engine_rate: int, rate: int) -> None:
        """Begins a reply of audio at `engine_rate` Hz, which is played at `rate` Hz."""
        self.id = name
        self.handle: Handle | None = None
        self.ended: Ended | None = None
        self.done = asyncio.Event()
        self.stopped = False
        self.underruns = 0
        self._rate = rate
        self._resampler = Resampler(engine_rate, rate)
        self._texts: deque[str] = deque()  # of the steps that were not told yet
        self._audio = np.zeros(0, np.float32)  # that was not played yet
        self._played = 0  # samples

    @property
    def heard_s(self) -> float:
        """Returns how much of it was played, in seconds."""
        return self._played / self._rate

    @property
    def playing(self) -> bool:
        """Returns whether something of it was played, and more is to come."""
        return bool(self._played) and not self.over

    @property
    def over(self) -> bool:
        """Returns whether nothing more is to be played or told."""
        return self.stopped or (self.ended is not None and not len(self._audio) and not self._texts)

    def follow(self, event: Event) -> None:
        """Takes an event of the engine."""
        if isinstance(event, Ended):
            self.ended = event
            self.done.set()
            event = Audio(np.zeros(0, np.float32))
        if self.stopped:
            return
        if isinstance(event, Step):
            self._texts.append(event.text)
        elif isinstance(event, Audio):
            more = self._resampler.push(event.samples, last=self.ended is not None)
            self._audio = np.concatenate([self._audio, more])

    def play(self, size: int, least: int | None = None) -> tuple[Float32[np.ndarray, " N"], str]:
        """Returns the samples of the next slot, silence where there are none, and the text that goes with them.

        A step is 200 ms of speech, so each slot tells the text of one step; the end tells what is left.

        Args:
          size: samples of the slot.
          least: samples with which the reply begins, at the end of their slot; None for those of a slot.
        """
        begins = not self._played
        if begins and self.ended is None and len(self._audio) < (size if least is None else least):
            return np.zeros(size, np.float32), ""
        now, self._audio = self._audio[:size], self._audio[size:]
        self._played += len(now)
        if self.handle is not None:
            self.handle.played(self.heard_s)
        complete = self.ended is not None and not len(self._audio)
        self.underruns += len(now) < size and self.ended is None
        text = "".join(self._texts) if complete else self._texts.popleft() if self._texts else ""
        if complete:
            self._texts.clear()
        lacking = size - len(now)
        return np.pad(now, (lacking, 0) if begins and self.ended is None else (0, lacking)), text

    def fade(self, size: int) -> Float32[np.ndarray, " N"]:
        """Returns the samples of the next slot, in which it fades to silence, and ends it."""
        now, _ = self.play(size)
        fall = min(size, round(FADE_S * self._rate))
        now[:fall] *= np.linspace(1, 0, fall, dtype=np.float32)
        now[fall:] = 0
        self.stop()
        return now

    def stop(self) -> None:
        """Ends it; what was not played is forgotten."""
        self.stopped = True
        self._texts.clear()
        self._audio = self._audio[:0]
        if self.handle is not None and self.ended is None:
            self.handle.cancel()

    def remembered(self, engine: Engine) -> GeneratedReply | None:
        """Returns what the conversation goes on with: the part of it that was heard; None for nothing."""
        if self.ended is None or self.ended.reply is None or not self.heard_s:
            return None
        return engine.cut(self.ended.reply, self.heard_s) if self.stopped else self.ended.reply
