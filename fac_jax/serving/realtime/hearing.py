"""The user's audio in a session: the input audio buffer, turns by the detector or by hand, and their items."""

from typing import Final

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import StoredFeatures
from fac_jax.serving.detect.base import Started, Stopped, TurnEvent
from fac_jax.serving.prompting import STEP_S
from fac_jax.serving.realtime.desk import Desk, Take
from fac_jax.serving.realtime.ear import Ear
from fac_jax.serving.realtime.items import Item, Items, Part
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.responses import Responses
from fac_jax.serving.realtime.server_events import buffer, item_added, item_done, new_id, vad
from fac_jax.serving.realtime.sound import rate_of
from fac_jax.serving.talk import Listening

PIECE_S: Final = 0.2  # of audio that is heard at once
LEAST_S: Final = 0.1  # of audio that can be committed
VAD_MS: Final = 96  # between two events `fac.vad`


class Hearing:
    """What a session hears, and what follows from it.

    Attributes:
      waiting_s: seconds of audio that were taken and wait for `offer`.
    """

    def __init__(self, desk: Desk, items: Items, responses: Responses) -> None:
        self._desk, self._items, self._responses = desk, items, responses
        engine, given = desk.server.engine, desk.settings.audio.input
        turns = None if given.turn_detection is None else given.turn_detection.turns
        self.ear = Ear(engine.listen, engine.heard_rate, desk.server.detector, given.format, turns)
        self.waiting_s = 0.0
        self._waiting: list[Float32[np.ndarray, " N"]] = []  # pieces that wait for `offer`
        self._offered = False  # whether the ear has audio that `hear` has not followed
        self._item_id: str | None = None  # of the turn that a detector began
        self._idle_from: int | None = None  # ms of all audio since when nobody speaks; None before a first response
        self._told_ms = 0  # of the last `fac.vad`

    def configure(self) -> None:
        """Goes by the settings of the session from now on."""
        given = self._desk.settings.audio.input
        self.ear.configure(given.format, None if given.turn_detection is None else given.turn_detection.turns)
        if not self.ear.turn:
            self._item_id = None

    def pieces(self, samples: Float32[np.ndarray, " N"]) -> list[Float32[np.ndarray, " M"]]:
        """Cuts audio into what is heard at once, so that nobody else waits for long."""
        size = round(PIECE_S * rate_of(self._desk.settings.audio.input.format))
        return [samples[begin : begin + size] for begin in range(0, len(samples), size)]

    def take(self, samples: Float32[np.ndarray, " N"]) -> None:
        """Takes audio at the rate of the session's format; it waits for `offer` and `hear` if a detector listens.

        Raises:
          RefusedError: the buffer is full; what exceeds it is dropped.
        """
        limit_s, rate = self._desk.server.config.limits.turn_s, rate_of(self._desk.settings.audio.input.format)
        room = len(samples) if self.ear.detects else round(max(limit_s - self.ear.buffered_s, 0) * rate)
        self._waiting.append(samples[:room])
        self.waiting_s += room / rate
        if not self.ear.detects:
            self.offer()
            self.hear()
        if room < len(samples):
            message = f"The buffer has at most {limit_s:g} s; the rest is dropped."
            raise RefusedError(message, "input_audio_buffer_too_long")

    def offer(self) -> None:
        """Gives the ear the audio that waits, so that the detector can hear it together with that of other sessions."""
        for samples in self._waiting:
            self.ear.take(samples)
            self._offered = True
        self._waiting, self.waiting_s = [], 0.0

    def hear(self) -> None:
        """Follows what the detector says to what the ear was given, if anything was; it hears what it has not yet."""
        if not self._offered:
            return
        self._offered = False
        limit_s = self._desk.server.config.limits.turn_s
        if not self.ear.detects and not self.ear.turn:
            self.ear.begin()
        for event in self.ear.turns(self._responses.heard):
            self._follow(event)
        self.ear.feed()
        if self.ear.detects:
            if self.ear.turn and self.ear.buffered_s >= limit_s:
                self._stopped(self.ear.ms, by_hand=True)  # a longer turn goes on as the next one
            self._tell_vad()
            self._notice_silence()

    def commit(self) -> None:
        """Makes an item of the buffer.

        Raises:
          RefusedError: it is too short.
        """
        self.ear.flush()
        if self.ear.buffered_s < LEAST_S:
            message = f"Buffer too small: it has {self.ear.buffered_s * 1000:.0f} ms, and needs {LEAST_S * 1000:.0f}."
            raise RefusedError(message, "input_audio_buffer_commit_empty")
        if not self.ear.turn:
            self.ear.begin()
        item_id, self._item_id = self._item_id, None
        self._add(item_id or new_id("item"), self.ear.end())

    def clear(self) -> None:
        """Empties the buffer, and forgets a turn that has begun."""
        self._item_id = None
        self.ear.clear()
        self._desk.emit(buffer("cleared"))

    def taken(self, item_id: str, wave: Float32[np.ndarray, " N"], features: StoredFeatures | None) -> Item | None:
        """Takes what the engine made of a user's audio; returns its item, None if it is gone."""
        item = self._items.find(item_id)
        if item is not None:
            item.parts[0].wave, item.parts[0].features = wave if len(wave) else None, features
            item.ready = True
            self._items.forget_audio(self._desk.server.engine.context * STEP_S)  # what is older never fits a prompt
        return item

    def _follow(self, event: TurnEvent) -> None:
        if isinstance(event, Started) and not self.ear.turn:
            self._started(event)
        elif isinstance(event, Stopped) and self.ear.turn:
            self._stopped(event.ms)

    def _started(self, event: Started) -> None:
        detection = self._desk.settings.audio.input.turn_detection
        self.ear.begin(event.ms)
        self._item_id = new_id("item")
        self._desk.emit(buffer("speech_started", audio_start_ms=event.ms, item_id=self._item_id))
        if detection is not None and detection.interrupt_response:
            if self._responses.active is not None:
                onset_ms = event.ms + detection.turns.prefix_padding_ms
                self._desk.server.metrics.interrupt.observe(max(self.ear.ms - onset_ms, 0) / 1000)
            self._responses.interrupt()

    def _stopped(self, ms: int, by_hand: bool = False) -> None:
        item_id, self._item_id = self._item_id or new_id("item"), None
        self._desk.emit(buffer("speech_stopped", audio_end_ms=ms, item_id=item_id))
        self._add(item_id, self.ear.end(None if by_hand else ms))
        detection = self._desk.settings.audio.input.turn_detection
        if detection is not None and detection.create_response:
            self._responses.answer(self._desk.clock())

    def _notice_silence(self) -> None:
        """Lets the model speak again if the user has said nothing for long after it."""
        detection = self._desk.settings.audio.input.turn_detection
        if detection is None or detection.idle_timeout_ms is None:
            return
        if self.ear.turn or self._responses.active is not None or self._responses.heard:
            self._idle_from = self.ear.ms
        elif self._idle_from is not None and self.ear.ms - self._idle_from >= detection.idle_timeout_ms:
            item_id, begin = new_id("item"), self._idle_from
            self._idle_from = None
            fields = {"audio_start_ms": begin, "audio_end_ms": self.ear.ms, "item_id": item_id}
            self._desk.emit(buffer("timeout_triggered", **fields))
            self.ear.begin(begin)
            self._add(item_id, self.ear.end())
            self._responses.answer(self._desk.clock())

    def _tell_vad(self) -> None:
        if self._desk.steps and self.ear.ms - self._told_ms >= VAD_MS:
            self._told_ms = self.ear.ms
            self._desk.emit(vad(self.ear.probability, self.ear.ms))

    def _add(self, item_id: str, listening: Listening) -> None:
        """Puts the user's turn into the conversation; its audio follows."""
        item = Item(item_id, "message", "user", [Part("input_audio", None)], ready=False)
        previous = self._items.append(item)
        self._desk.emit(buffer("committed", previous_item_id=previous, item_id=item_id))
        self._desk.emit(item_added(item.shown(), previous))
        self._desk.emit(item_done(item.shown(), previous))
        self._desk.tell(Take(item_id, listening))
