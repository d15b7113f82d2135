"""Writes down what the user said, for sessions that ask for it: a pass of the model beside the talk."""

from typing import Final

from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.serving.prompting import STEP_S
from fac_jax.serving.realtime.desk import Ask, Desk, Stop
from fac_jax.serving.realtime.items import HEARD_RATE, Item
from fac_jax.serving.realtime.server_events import new_id, transcription
from fac_jax.serving.talk import Ended, Event, Step, TalkRequest
from fac_jax.text.prompts import SYSTEM_TEXT, TRANSCRIBE

_PER_SECOND: Final = 8  # text ids for a second of speech, at most
_MORE: Final = 16


class Transcripts:
    """The transcripts of a session that are being made."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._items: dict[str, Item] = {}  # by the id of the reply

    def begin(self, item: Item) -> None:
        """Begins to write down a user's audio, if the session asks for it and there is some."""
        part = item.parts[0]
        if self._desk.settings.audio.input.transcription is None or part.wave is None or not len(part.wave):
            return
        engine, limits = self._desk.server.engine, self._desk.server.config.limits
        turn = Turn("user", TRANSCRIBE, wave=part.wave, mel=part.features)
        name = new_id("trans")
        conversation = Conversation(name, SYSTEM_TEXT, (turn,))
        seconds = len(part.wave) / HEARD_RATE
        room = engine.context - engine.positions(conversation)
        limit = min(round(seconds * _PER_SECOND) + _MORE, round(limits.reply_s / STEP_S), room)
        if limit < 1:
            return self._failed(item, "audio_too_long")
        self._items[name] = item
        self._desk.tell(Ask(name, TalkRequest(conversation, spoken=False, limit=limit)))

    def follow(self, reply_id: str, event: Event) -> None:
        """Takes an event of the engine, if it is of a transcript."""
        item = self._items.get(reply_id)
        if item is None:
            return
        if item.deleted:
            del self._items[reply_id]
            self._desk.tell(Stop(reply_id))
        elif isinstance(event, Step) and event.text:
            item.parts[0].text = (item.parts[0].text or "") + event.text
            self._desk.emit(transcription("delta", item.id, delta=event.text))
        elif isinstance(event, Ended):
            del self._items[reply_id]
            if event.reason in ("stop", "limit"):
                self._completed(item)
            else:
                self._failed(item, "server_full" if event.reason == "full" else "engine_failed")

    def stop(self) -> None:
        """Gives up the transcripts that are being made."""
        for reply_id, item in self._items.items():
            item.parts[0].text = None
            self._desk.tell(Stop(reply_id))
        self._items.clear()

    def _completed(self, item: Item) -> None:
        part = item.parts[0]
        part.text = part.text or ""
        seconds = 0.0 if part.wave is None else len(part.wave) / HEARD_RATE
        usage = {"type": "duration", "seconds": round(seconds, 3)}
        self._desk.emit(transcription("completed", item.id, transcript=part.text, usage=usage))

    def _failed(self, item: Item, code: str) -> None:
        error = {"type": "server_error", "code": code, "message": "The speech could not be written down."}
        self._desk.emit(transcription("failed", item.id, error=error))
