"""The responses of a session: one of the conversation at a time, and a few beside it that it does not remember."""

from collections.abc import Mapping
from typing import Final

from fac_jax.serving.realtime.asking import request_of
from fac_jax.serving.realtime.client_events import CancelResponse, CreateResponse, ResponseFields
from fac_jax.serving.realtime.desk import Ask, Desk, Played, Stop
from fac_jax.serving.realtime.fields import checked
from fac_jax.serving.realtime.item_input import read_items
from fac_jax.serving.realtime.items import Item, Items
from fac_jax.serving.realtime.output import Output
from fac_jax.serving.realtime.prompt import ContextTooLongError
from fac_jax.serving.realtime.refused import RefusedError, rate_limited
from fac_jax.serving.realtime.response import Response, Times
from fac_jax.serving.realtime.server_events import (
    new_id,
    rate_limits,
    response_created,
    response_done,
    step,
    timing,
)
from fac_jax.serving.realtime.settings import Settings
from fac_jax.serving.realtime.settings_change import changed
from fac_jax.serving.realtime.truncation import cut_to_heard
from fac_jax.serving.talk import Audio, Began, Ended, Event, Step

MOST_ASIDE: Final = 4  # responses at once that are not of the conversation
_SHARED: Final = ("output_modalities", "instructions", "audio", "tools", "tool_choice", "max_output_tokens")
_FAILED: Final = {  # code and message by the engine's reason; what failed is in the log
    "full": ("server_full", "No place became free in time; try again."),
    "failed": ("engine_failed", "The engine failed; try again."),
    "cancelled": ("engine_stopped", "The engine stopped; try again."),
}


class Responses:
    """The responses of a session.

    Attributes:
      active: the response of the conversation that is under way; None for none.
      spoke: whether audio of a reply has been sent.
      conversation_id: of the conversation.
    """

    def __init__(self, desk: Desk, items: Items) -> None:
        self._desk, self._items = desk, items
        self.conversation_id = new_id("conv")
        self._waiting: list[Response] = []  # for items of their prompts
        self._asked: dict[str, Response] = {}  # of the engine, which has not said yet that they ended
        self._last_played = 0.0  # time at which the last response will have been played
        self._wanted: float | None = None  # end of speech that waits for an answer until the active one has ended
        self.active: Response | None = None
        self.spoke = False

    @property
    def heard(self) -> bool:
        """Returns whether the user hears the model now."""
        return self._desk.clock() < self._last_played

    def create(self, event: CreateResponse) -> None:
        """Begins the response that a client asks for.

        Raises:
          RefusedError: another one is active, or a field is wrong.
        """
        given = event.response or {}
        fields = checked(ResponseFields, given, "response")
        aside = fields.conversation == "none"
        if not aside and self.active is not None:
            message = f"Conversation already has an active response: {self.active.id}."
            raise RefusedError(message, "conversation_already_has_active_response")
        under_way = (*self._waiting, *self._asked.values())
        if aside and sum(one.conversation_id is None for one in under_way) >= MOST_ASIDE:
            raise rate_limited(f"There are {MOST_ASIDE} responses outside of the conversation, the most at once.")
        shared = {key: value for key, value in given.items() if key in _SHARED}
        engine, limits = self._desk.server.engine, self._desk.server.config.limits
        settings, _ = changed(self._desk.settings, shared, "response", engine.voices, limits)
        reads = list(self._items)
        if fields.input is not None:
            reads = read_items(fields.input, "response.input", self._items, settings.audio.input.format, limits)
        self._begin(settings, reads, aside, fields.metadata, Times())

    def answer(self, speech_stopped: float) -> None:
        """Answers the user's speech, which ended at a time of the clock; after the active response if there is one."""
        if self.active is None:
            self._begin(self._desk.settings, list(self._items), False, None, Times(speech_stopped))
        else:
            self._wanted = speech_stopped

    def cancel(self, event: CancelResponse) -> None:
        """Ends a response, by its id or the one of the conversation.

        Raises:
          RefusedError: it is not under way.
        """
        under_way = [*self._waiting, *self._asked.values()]
        found = self.active
        if event.response_id is not None:
            found = next((one for one in under_way if one.id == event.response_id), None)
        if found is None or found.status != "in_progress":
            raise RefusedError("Cancellation failed: no active response found.", "response_cancel_not_active")
        self._stop(found, "client_cancelled")

    def interrupt(self) -> None:
        """Ends the response of the conversation because the user speaks."""
        self._wanted = None
        if self.active is not None:
            self._stop(self.active, "turn_detected")
        self._last_played = 0.0

    def stop(self) -> None:
        """Ends all responses, because nobody hears them any more."""
        self._wanted = None
        for response in [*self._waiting, *self._asked.values()]:
            if response.status == "in_progress":
                self._stop(response, "client_cancelled")

    def resume(self, conversation_id: str, spoke: bool) -> None:
        """Goes on with a conversation of an earlier connection."""
        self.conversation_id, self.spoke = conversation_id, spoke

    def release(self) -> None:
        """Asks the engine for the responses whose prompts are there."""
        for response in list(self._waiting):
            if all(item.settled for item in response.readable):
                self._waiting.remove(response)
                self._ask(response)

    def follow(self, reply_id: str, event: Event) -> bool:
        """Takes an event of the engine; returns whether it is of a response."""
        response = self._asked.get(reply_id)
        if response is None:
            return False
        if isinstance(event, Ended):
            del self._asked[reply_id]
            self._settle(response, event)
        elif response.status != "in_progress":
            pass
        elif isinstance(event, Began):
            response.began = event
        elif isinstance(event, Step):
            self._step(response, event)
        else:
            self._audio(response, event)
        return True

    def played(self) -> None:
        """Tells the engine how much the listener has had."""
        for response in self._asked.values():
            if response.status == "in_progress" and response.output.spoken:
                ahead = max(response.times.played - self._desk.clock(), 0.0)
                self._desk.tell(Played(response.id, max(response.output.sent_s - ahead, 0.0)))

    def _begin(
        self, settings: Settings, reads: list[Item], aside: bool, metadata: Mapping[str, str] | None, times: Times
    ) -> None:
        response_id = new_id("resp")
        output = Output(
            response_id,
            settings.audio.output.format if settings.spoken else None,
            self._desk.server.engine.rate,
            bool(settings.offered),
            self._desk.emit,
            None if aside else self._items.append,
        )
        conversation_id = None if aside else self.conversation_id
        response = Response(response_id, settings, output, reads, conversation_id, metadata, times)
        if not aside:
            self.active = response
        self._desk.emit(response_created(response.shown()))
        self._waiting.append(response)
        self.release()

    def _ask(self, response: Response) -> None:
        try:
            request = request_of(response, self._desk.server, self._desk.session_id, self._desk.model)
        except ContextTooLongError as error:
            code = "context_length_exceeded"
            response.end("failed", error={"type": "invalid_request_error", "code": code, "message": str(error)})
            return self._finish(response)
        self._asked[response.id] = response
        self._desk.tell(Ask(response.id, request))

    def _step(self, response: Response, event: Step) -> None:
        now = self._desk.clock()
        response.count(event, now)
        if self._desk.steps:
            ms = self._desk.ms(now) or 0
            units = [int(unit) for unit in event.units]
            self._desk.emit(step(response.id, event.number, event.text_id, event.text, units, ms))
        response.output.step(event)

    def _audio(self, response: Response, event: Audio) -> None:
        sent_s = response.output.sent_s
        response.output.audio(event.samples)
        self._sent(response, response.output.sent_s - sent_s)

    def _sent(self, response: Response, seconds: float) -> None:
        """Notes that more audio was sent."""
        if not seconds:
            return
        times, now, metrics = response.times, self._desk.clock(), self._desk.server.metrics
        self.spoke = True
        if times.first_audio is None:
            times.first_audio = now
            if times.speech_stopped is not None:
                metrics.first_audio.observe(now - times.speech_stopped)
            self._timing(response)
        elif times.played < now:
            metrics.underruns.inc()
        times.played = max(times.played, now) + seconds
        if response is self.active:
            self._last_played = times.played

    def _settle(self, response: Response, event: Ended) -> None:
        output, running = response.output, response.status == "in_progress"
        output.made.ids, output.made.settled = event.reply, True
        if running:
            if event.reason == "stop":
                response.end("completed")
            elif event.reason == "limit":
                response.end("incomplete", "max_output_tokens")
            else:
                code, message = _FAILED[event.reason]
                self._desk.server.metrics.errors.labels(code).inc()
                response.end("failed", error={"type": "server_error", "code": code, "message": message})
            sent_s = output.sent_s
            output.close("completed" if event.reason == "stop" else "incomplete")
            self._sent(response, output.sent_s - sent_s)
        for item in output.items:
            cut_to_heard(item, self._desk.server.engine)
        if running:
            self._finish(response)
        self.release()

    def _stop(self, response: Response, reason: str) -> None:
        if response in self._waiting:
            self._waiting.remove(response)
        else:
            self._desk.tell(Stop(response.id))
        response.end("cancelled", reason)
        response.output.stop()
        self._finish(response)

    def _finish(self, response: Response) -> None:
        """Tells that a response has ended."""
        if response.id not in self._asked:
            response.output.made.settled = True
        self._desk.emit(response_done(response.shown()))
        self._desk.emit(rate_limits(self._desk.server.engine.context, response.used))
        if response.times.first_audio is None:
            self._timing(response)
        if response is self.active:
            self.active = None
            if self._wanted is not None:
                wanted, self._wanted = self._wanted, None
                self.answer(wanted)

    def _timing(self, response: Response) -> None:
        if self._desk.steps:
            self._desk.emit(timing(response.id, **response.timing(self._desk.ms)))
