"""A model that takes turns, in a session that has none: a detector finds the user's turns, and the replies are played.

What the user says while the model speaks interrupts it. A model that listens while it speaks takes the place of this.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import Conversation, StoredFeatures, Turn
from fac_jax.serving import logs
from fac_jax.serving.detect.base import RATE, Started, TurnSettings
from fac_jax.serving.live.events import error_event, transcript_delta
from fac_jax.serving.live.speaker import Spoken
from fac_jax.serving.prompting import STEP_S, system_prompt
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.server_events import ServerEvent, new_id, step, vad
from fac_jax.serving.realtime.sound import Resampler
from fac_jax.serving.server import Server
from fac_jax.serving.talk import Began, Ended, Event, Handle, Listening, Step, TalkRequest
from fac_jax.text.prompts import SYSTEM_TEXT, TRANSCRIBE
from fac_jax.types import InputError

_KEPT_S: Final = 3  # of the user's audio; a turn begins before the detector says so

Span: TypeAlias = tuple[int, int]  # ms of the session where a turn begins and ends


class HalfDuplex:
    """The model's side of a session. All of its methods are called in the loop.

    Attributes:
      instructions: texts of the system prompt, in order.
      positions: LLM positions of the last prompt and its reply.
    """

    def __init__(
        self,
        server: Server,
        rate: int,
        history: list[Turn],
        model: str,
        voice: str | None,
        tell: Callable[[ServerEvent], None],
        fac_events: bool,
    ) -> None:
        """Begins a session.

        Args:
          server: with the engine.
          rate: of the audio of both sides in Hz.
          history: turns of text before the session.
          model: that answers, one of `Engine.models`.
          voice: of the replies.
          tell: sends an event to the client.
          fac_events: whether the client wants the events of the page.
        """
        self.instructions: list[str] = []
        self.positions = 0
        self._server, self._engine, self._tell, self._fac_events = server, server.engine, tell, fac_events
        self._rate, self._model, self._voice = rate, model, voice
        self._id = new_id("live")
        self._said: list[Turn | Spoken] = list(history)
        self._detector = server.detector(TurnSettings())
        self._to_detector, self._to_engine = Resampler(rate, RATE), Resampler(RATE, self._engine.heard_rate)
        self._ear = np.zeros(0, np.float32)  # the last audio of the user, at 16 kHz
        self._heard = 0  # samples at 16 kHz so far
        self._listening: Listening | None = None
        self._span_start = self._pushed = 0  # of the turn that is heard: its begin, and what the engine has of it
        self._reply: Spoken | None = None
        self._stopped_at: float | None = None  # when the user's last turn ended, until the reply is heard
        self._began_at = time.monotonic()
        self._turns = 0  # of the user that have begun
        self._order = asyncio.Lock()  # turns are added in their order
        self._transcripts: set[Handle] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def slot(self, samples: Float32[np.ndarray, " N"]) -> tuple[Float32[np.ndarray, " N"], str]:
        """Hears a slot of the user, and returns what the model says in it: as many samples, and text."""
        heard = self._to_detector.push(samples)
        self._ear = np.concatenate([self._ear, heard])[-_KEPT_S * RATE :]
        self._heard += len(heard)
        for event in self._detector.push(heard, self._reply is not None and self._reply.playing):
            if isinstance(event, Started):
                self._user_starts(event.ms)
            elif self._listening is not None:
                self._user_stops(event.ms)
        self._push(self._heard)
        if self._listening is not None and self._heard - self._span_start >= self._server.config.limits.turn_s * RATE:
            self._detector.reset()
            self._user_stops(self._heard * 1000 // RATE)
        if self._fac_events:
            self._tell(vad(self._detector.probability, self._heard * 1000 // RATE))
        return self._play(len(samples))

    def close(self) -> None:
        """Ends everything that is under way."""
        for task in self._tasks:
            task.cancel()
        if self._listening is not None:
            self._listening.drop()
        if self._reply is not None:
            self._reply.stop()
        for handle in self._transcripts:
            handle.cancel()
        self._engine.forget(self._id)

    def _play(self, size: int) -> tuple[Float32[np.ndarray, " N"], str]:
        reply = self._reply
        if reply is None or reply.over:
            return np.zeros(size, np.float32), ""
        before = reply.underruns
        audio, text = reply.play(size)
        self._server.metrics.underruns.inc(reply.underruns - before)
        if self._stopped_at is not None and reply.heard_s:
            self._server.metrics.first_audio.observe(time.monotonic() - self._stopped_at)
            self._stopped_at = None
        return audio, text

    def _user_starts(self, ms: int) -> None:
        if self._reply is not None and not self._reply.over:
            self._reply.stop()
        self._turns += 1
        self._listening = self._engine.listen()
        self._to_engine = Resampler(RATE, self._engine.heard_rate)
        self._span_start = self._pushed = max(ms * RATE // 1000, self._heard - len(self._ear))

    def _push(self, until: int, last: bool = False) -> None:
        """Gives the engine the audio of the user's turn up to a sample."""
        if self._listening is None:
            return
        start = self._heard - len(self._ear)
        samples = self._to_engine.push(self._ear[self._pushed - start : max(until, self._pushed) - start], last)
        self._pushed = max(until, self._pushed)
        if len(samples):
            self._listening.push(samples)

    def _user_stops(self, ms: int) -> None:
        self._push(ms * RATE // 1000, last=True)
        listening, self._listening = self._listening, None
        self._stopped_at = time.monotonic()
        assert listening is not None
        self._later(self._answer(self._turns, listening, (self._span_start * 1000 // RATE, ms)))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logs.exception("live.failed", error, session=self._id)
            self._tell_error("The server failed.", "internal_error")

    async def _answer(self, number: int, listening: Listening, span: Span) -> None:
        """Adds a turn of the user to the conversation, and answers it if no other has begun."""
        async with self._order:
            try:
                wave, features = await listening.close()
            except asyncio.CancelledError:
                listening.drop()
                raise
            turn, reply = Turn("user", wave=wave, mel=features), self._reply
            if reply is not None:  # the user has interrupted it; how far it came is known at its end
                await reply.done.wait()
            self._said.append(turn)
            reply = None
            if number == self._turns:
                try:
                    reply = self._ask()
                except InputError as error:  # too short, or too long
                    logs.event("live.turn_refused", session=self._id, content={"reason": str(error)})
                    self._said.remove(turn)
                    return
        if reply is not None:
            await reply.done.wait()
        if self._server.config.transcribe:
            self._transcribe(wave, features, span)

    def _ask(self) -> Spoken:
        """Asks for a reply to the conversation; forgets its oldest turns if it does not fit."""
        engine = self._engine
        limit = min(round(self._server.config.limits.reply_s / STEP_S), engine.context // 2)
        system = system_prompt("\n".join(self.instructions), spoken=True)
        while True:
            turns = [turn for one in self._said if (turn := self._turn(one)) is not None]
            conversation = Conversation(self._id, system, tuple(turns))
            if engine.positions(conversation) + limit <= engine.context or len(turns) == 1:
                break
            del self._said[0]
        limit = min(limit, engine.context - engine.positions(conversation))
        reply = Spoken(new_id("resp"), engine.rate, self._rate)
        request = TalkRequest(conversation, True, limit, voice=self._voice, model=self._model, session=self._id)
        reply.handle = engine.submit(request, lambda event: self._follow(reply, event))
        self._reply = reply
        self._said.append(reply)
        return reply

    def _turn(self, said: Turn | Spoken) -> Turn | None:
        if isinstance(said, Turn):
            return said
        kept = said.remembered(self._engine)
        return None if kept is None else Turn("assistant", generated=kept)

    def _follow(self, reply: Spoken, event: Event) -> None:
        reply.follow(event)
        if isinstance(event, Began):
            self.positions = event.positions
        elif isinstance(event, Step):
            self.positions += 1
            if self._fac_events and not reply.stopped:
                ms = round((time.monotonic() - self._began_at) * 1000)
                self._tell(step(reply.id, event.number, event.text_id, event.text, event.units.tolist(), ms))
        elif isinstance(event, Ended):
            content = None if event.reply is None else {"text": self._engine.text_of(event.reply)}
            logs.event("live.replied", content, session=self._id, reason=event.reason)
            if event.reason == "full":
                self._tell_error("No slot became free in time.", "server_full")
            elif event.reason == "failed":
                self._tell_error("The engine failed.", "engine_failed")

    def _tell_error(self, message: str, code: str) -> None:
        self._tell(error_event(RefusedError(message, code, kind="server_error"), None))

    def _transcribe(self, wave: np.ndarray, features: StoredFeatures | None, span: Span) -> None:
        """Lets the model write down a user's turn; nobody waits for it."""
        turn = Turn("user", TRANSCRIBE, wave=wave, mel=features)
        texts: list[str] = []
        asked: list[Handle] = []

        def follow(event: Event) -> None:
            if isinstance(event, Step):
                texts.append(event.text)
            elif isinstance(event, Ended):
                self._transcripts.difference_update(asked)
                if event.reason in ("stop", "limit") and (text := "".join(texts)):
                    self._tell(transcript_delta("input", text, *span))

        conversation = Conversation(new_id("heard"), SYSTEM_TEXT, (turn,))
        room = self._engine.context - self._engine.positions(conversation)
        if (limit := min(room, round(self._server.config.limits.reply_s / STEP_S))) > 0:
            asked.append(self._engine.submit(TalkRequest(conversation, False, limit), follow))
            self._transcripts.update(asked)
