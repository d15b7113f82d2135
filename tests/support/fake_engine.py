"""An engine for tests of the protocol (`fac_jax.serving.talk`): scripted replies, no model and no device.

By default every reply is made at once: "this is reply 1", a word and 200 ms of a quiet tone a step. With `by_hand` a
reply waits for the test: `engine.step()` makes one step of every reply that is under way.
"""

import asyncio
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from fac_jax.batching.conversation import Conversation, GeneratedReply, StoredFeatures
from fac_jax.serving.talk import Audio, Began, Deliver, Ended, Event, Reason, Step, TalkRequest
from fac_jax.types import InputError

STEP_S = 0.2  # of speech
EOS = 0


@dataclasses.dataclass(frozen=True)
class Word:
    """One step of a scripted reply: its text, the units and the seconds of audio that come with it."""

    text: str
    units: int = 5
    audio_s: float = STEP_S


Script = Callable[[TalkRequest, int], Sequence[Word | str]]
"""Gives the steps of a reply for the request and its number, which counts from 1. A text is a `Word` of 200 ms."""


def count(request: TalkRequest, number: int) -> Sequence[Word | str]:
    """The default script."""
    return ["this", " is", " reply", f" {number}"]


class FakeHandle:
    """A reply that is under way.

    Attributes:
      request: what was asked.
      words: its steps.
      made: steps that were made.
      played_s: what `played` was told last.
      ended: the reason of its end; None while it is under way.
    """

    def __init__(self, engine: "FakeEngine", request: TalkRequest, words: Sequence[Word], deliver: Deliver) -> None:
        self.request, self.words = request, words
        self.made, self.played_s = 0, 0.0
        self._engine, self._deliver = engine, deliver
        self._loop = asyncio.get_running_loop()
        self._cancelled = False
        self._ids: list[int] = []
        self.ended: Reason | None = None

    def cancel(self) -> None:
        self._cancelled = True
        self._later(self._cancel)

    def played(self, seconds: float) -> None:
        self.played_s = seconds

    def begin(self) -> None:
        """Gives the request its slot, or refuses it; called by the engine."""
        self._later(self._begin)

    def step(self) -> None:
        """Makes the next step, from any thread; the end comes with the last one."""
        self._later(self._step)

    def fail(self, error: str = "the engine stopped") -> None:
        """Ends the reply as a fault of the engine does, from any thread."""
        self._later(lambda: self._end("failed", error))

    def _later(self, act: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(act)

    def _send(self, event: Event) -> None:
        if not self._engine.mute:
            self._deliver(event)

    def _begin(self) -> None:
        if self._cancelled or self.ended is not None:
            return
        if self._engine.full:
            return self._end("full")
        positions = self._engine.positions(self.request.conversation)
        audio = sum(_audio_positions(turn.wave) for turn in self.request.conversation.turns)
        self._send(Began(queued_s=0.001, prefill_s=0.01, positions=positions, reused=0, audio_positions=audio))
        if not self._engine.by_hand:
            self.step()

    def _step(self) -> None:
        if self.ended is not None or self._cancelled:
            return
        if self.made == self._engine.fail_at:
            return self._end("failed", "the engine stopped")
        if self.made < min(len(self.words), self.request.limit):
            self._speak(self.words[self.made])
        if self.made >= len(self.words):
            self._end("stop")
        elif self.made >= self.request.limit:
            self._end("limit")
        elif not self._engine.by_hand:
            self.step()

    def _speak(self, word: Word) -> None:
        number = self.made
        self.made += 1
        self._ids.append(self._engine.id_of(word.text))
        spoken = self.request.spoken
        units = np.arange(word.units, dtype=np.int32) if spoken else np.zeros(0, np.int32)
        self._send(Step(number, self._ids[-1], word.text, units))
        if spoken and word.audio_s:
            self._send(Audio(tone(word.audio_s, self._engine.rate)))

    def _cancel(self) -> None:
        if self.ended is None:
            self._end("cancelled")

    def _end(self, reason: Reason, error: str = "") -> None:
        if self.ended is not None:
            return
        self.ended = reason
        began = reason != "full" and (self.made or reason != "failed")
        groups = len(self._ids) if self.request.spoken else 0
        reply = GeneratedReply(np.array([*self._ids, EOS], np.int32), np.zeros((groups, 5), np.int32))
        self._send(Ended(reason, reply if began else None, error))


class FakeListening:
    """A user's audio.

    Attributes:
      pieces: the samples that were pushed.
      state: "open", "closed" or "dropped".
    """

    def __init__(self) -> None:
        self.pieces: list[np.ndarray] = []
        self.state = "open"

    @property
    def wave(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.float32), *self.pieces])

    def push(self, samples: np.ndarray) -> None:
        assert self.state == "open", f"pushed to audio that is {self.state}"
        assert samples.dtype == np.float32 and samples.ndim == 1
        self.pieces.append(samples)

    async def close(self) -> tuple[np.ndarray, StoredFeatures | None]:
        assert self.state == "open", f"closed audio that is {self.state}"
        self.state = "closed"
        return self.wave, None

    def drop(self) -> None:
        self.state = "dropped"


class FakeEngine:
    """An engine whose replies are scripted.

    Attributes:
      others: models beside the first.
      requests: all that was asked, in order.
      handles: the replies to them.
      heard: all audio of users, in order.
      forgotten: sessions that were forgotten.
      by_hand: replies wait for `step`.
      full: no request gets a slot.
      fail_at: number of the step at which every reply fails; None for none.
      mute: nothing is delivered, as by an engine that hangs.
    """

    model = "fac-fake"

    def __init__(
        self,
        script: Script = count,
        *,
        by_hand: bool = False,
        rate: int = 24_000,
        heard_rate: int = 16_000,
        voices: tuple[str, ...] = ("default", "other"),
        context: int = 2048,
    ) -> None:
        self.script, self.by_hand = script, by_hand
        self.rate, self.heard_rate, self.voices, self.context = rate, heard_rate, voices, context
        self.ready = self.alive = True
        self.full = self.mute = False
        self.others: tuple[str, ...] = ()
        self.fail_at: int | None = None
        self.requests: list[TalkRequest] = []
        self.handles: list[FakeHandle] = []
        self.heard: list[FakeListening] = []
        self.forgotten: list[str] = []
        self._texts: dict[int, str] = {EOS: ""}
        self._ids: dict[str, int] = {}

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, *self.others)

    def submit(self, request: TalkRequest, deliver: Deliver) -> FakeHandle:
        turns = request.conversation.turns
        if not turns or turns[-1].role != "user":
            raise InputError("the conversation ends with no user's turn")
        if self.positions(request.conversation) + request.limit > self.context:
            raise InputError("the conversation and the limit do not fit the context")
        self.requests.append(request)
        words = [Word(word) if isinstance(word, str) else word for word in self.script(request, len(self.requests))]
        if not "".join(word.text for word in words).startswith(request.forced):
            words[0] = dataclasses.replace(words[0], text=request.forced + words[0].text)
        handle = FakeHandle(self, request, words, deliver)
        self.handles.append(handle)
        handle.begin()
        return handle

    def listen(self) -> FakeListening:
        self.heard.append(FakeListening())
        return self.heard[-1]

    def positions(self, conversation: Conversation) -> int:
        """Counts 5 for the system prompt, a word as one, 200 ms of a wave as one, an id as one, 3 for each turn."""
        positions = 5 + len(conversation.system.split())
        for turn in conversation.turns:
            ids = 0 if turn.generated is None else len(turn.generated.text_ids)
            positions += 3 + len(turn.text.split()) + len(turn.lead.split()) + _audio_positions(turn.wave) + ids
        return positions

    def cut(self, reply: GeneratedReply, seconds: float) -> GeneratedReply:
        groups = math.ceil(round(seconds / STEP_S, 6))
        ids = np.append(reply.text_ids[:-1][:groups], EOS).astype(np.int32)
        return GeneratedReply(ids, reply.groups[:groups])

    def text_of(self, reply: GeneratedReply) -> str:
        return "".join(self._texts[int(text_id)] for text_id in reply.text_ids)

    def forget(self, session: str) -> None:
        self.forgotten.append(session)

    def step(self, times: int = 1) -> None:
        """Makes the next steps of every reply that is under way, from any thread."""
        for _ in range(times):
            for handle in self.handles:
                handle.step()

    def finish(self) -> None:
        """Makes all steps of every reply that is under way, from any thread."""
        for handle in self.handles:
            for _ in range(len(handle.words) + 1):
                handle.step()

    def id_of(self, text: str) -> int:
        """Returns the id of a word of a script; every text has its own."""
        if text not in self._ids:
            self._ids[text] = len(self._texts)
            self._texts[self._ids[text]] = text
        return self._ids[text]


def tone(seconds: float, rate: int, hertz: float = 440.0, loudness: float = 0.05) -> np.ndarray:
    """Returns a sine wave, float32."""
    return (loudness * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def _audio_positions(wave: np.ndarray | None) -> int:
    return 0 if wave is None else math.ceil(len(wave) / 16_000 / STEP_S)
