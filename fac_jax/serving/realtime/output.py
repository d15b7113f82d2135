"""Turns the steps and the audio of a reply into the events of its items."""

import json
from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
from jaxtyping import Float32

from fac_jax.serving.prompting import name_in
from fac_jax.serving.realtime.items import Item, Made, Part
from fac_jax.serving.realtime.server_events import ItemEvents, ServerEvent, item_added, item_done, new_id
from fac_jax.serving.realtime.settings import G711, Pcm
from fac_jax.serving.realtime.sound import Events
from fac_jax.serving.talk import Step
from fac_jax.text.tool_calls import CLOSING, OPENING, BadToolCall, Text, ToolCall, ToolCallParser

UNIT_RATE: Final = 25  # codec ids a second


class Output:
    """The output of one response.

    A message begins with its first text that is no white space, so that a reply that only calls a function has none.
    Calls come behind the message. What is spoken while a call is written is left out of the audio.

    Attributes:
      items: of the response, in order.
      made: the reply that they share.
      sent_s: seconds of audio that were sent.
    """

    def __init__(
        self,
        response_id: str,
        form: Pcm | G711 | None,
        rate: int,
        tools: bool,
        emit: Callable[[ServerEvent], None],
        place: Callable[[Item], str | None] | None,
    ) -> None:
        """Begins the output.

        Args:
          response_id: id of the response.
          form: of the audio; None for a reply in text.
          rate: sampling rate of the engine's audio in Hz.
          tools: whether calls are looked for.
          emit: sends an event.
          place: puts an item into the conversation and returns the id of the item before; None where none is written.
        """
        self._response_id, self._form, self._rate = response_id, form, rate
        self._emit, self._place = emit, place
        self._parser = ToolCallParser() if tools else None
        self._events = Events(rate, form or Pcm())
        self._text = ""  # of the whole reply, calls included
        self._blank = ""  # white space before the message
        self._message: tuple[Item, ItemEvents, str | None] | None = None  # that is open, and the item before it
        self._calls: list[ToolCall | BadToolCall] = []  # that wait for the end of the message
        self._mute: list[bool] = []  # for each unit, whether it was spoken while a call was written
        self._heard = 0  # samples of the engine
        self._early: list[Float32[np.ndarray, " N"]] = []  # audio before the message
        self.items: list[Item] = []
        self.made = Made()
        self.sent_s = 0.0

    @property
    def spoken(self) -> bool:
        """Returns whether the reply is spoken."""
        return self._form is not None

    def step(self, step: Step) -> None:
        """Takes a step of the reply."""
        if self._parser is None:
            self._say(step.text)
            return
        self._follow(self._parser.push(step.text))
        before = self._writing
        self._text += step.text
        self._mute += [before or self._writing] * len(step.units)

    @property
    def _writing(self) -> bool:
        """Returns whether a call is being written."""
        return self._text.rfind(OPENING) > self._text.rfind(CLOSING)

    def audio(self, samples: Float32[np.ndarray, " N"]) -> None:
        """Takes audio of the reply."""
        begin, self._heard = self._heard, self._heard + len(samples)
        if any(self._mute):
            units = np.arange(begin, self._heard) * UNIT_RATE // self._rate
            mute = np.array(self._mute)
            samples = samples[~mute[np.minimum(units, len(mute) - 1)]]
        if self._message is None:
            self._early.append(samples)
        else:
            self._send(self._events.push(samples))

    def close(self, status: Literal["completed", "incomplete"]) -> None:
        """Ends the output with all that is there."""
        if self._parser is not None:
            self._follow(self._parser.close())
        if not self.items and any(len(samples) for samples in self._early):
            self._open()
            self._say("")
        if self._message is not None:
            self._send(self._events.close())
        self._close_message(status)
        for call in self._calls:
            self._call(call)

    def stop(self) -> None:
        """Ends the output at once; nothing that waits is sent."""
        self._close_message("incomplete")

    def _follow(self, events: Sequence[Text | ToolCall | BadToolCall]) -> None:
        for event in events:
            if isinstance(event, Text):
                self._say(event.text)
            elif self._message is None:
                self._call(event)
            else:
                self._calls.append(event)

    def _say(self, text: str) -> None:
        if self._message is None:
            self._blank += text
            if not self._blank.strip():
                return
            text, self._blank = self._blank, ""
            self._open()
        if text and self._message is not None:
            item, events, _ = self._message
            part = item.parts[0]
            part.text = (part.text or "") + text
            self._emit(events.text_delta(text, self.spoken))
        early, self._early = self._early, []
        for samples in early:
            self._send(self._events.push(samples))

    def _send(self, pieces: Sequence[tuple[str, float]]) -> None:
        if self._message is None or not self.spoken:
            return
        item, events, _ = self._message
        for audio, seconds in pieces:
            item.sent_s += seconds
            self.sent_s += seconds
            self._emit(events.audio_delta(audio))

    def _open(self) -> None:
        item = Item(new_id("item"), "message", "assistant", status="in_progress", made=self.made)
        events, previous = self._add(item)
        item.parts.append(Part("output_audio" if self.spoken else "output_text", ""))
        self._emit(events.part("added", self._part("")))
        self._message = item, events, previous

    def _close_message(self, status: Literal["completed", "incomplete"]) -> None:
        if self._message is None:
            return
        item, events, previous = self._message
        self._message = None
        text = item.parts[0].text or ""
        if self.spoken:
            self._emit(events.audio_done())
        self._emit(events.text_done(text, self.spoken))
        self._emit(events.part("done", self._part(text)))
        self._done(item, events, previous, status)

    def _call(self, call: ToolCall | BadToolCall) -> None:
        name = call.name if isinstance(call, ToolCall) else name_in(call.text)
        item = Item(new_id("item"), "function_call", status="in_progress", made=self.made, name=name)
        item.call_id = new_id("call")
        events, previous = self._add(item)
        item.arguments = json.dumps(call.arguments, ensure_ascii=False) if isinstance(call, ToolCall) else call.text
        self._emit(events.call("delta", item.call_id, delta=item.arguments))
        self._emit(events.call("done", item.call_id, name=name, arguments=item.arguments))
        unfinished = isinstance(call, BadToolCall) and call.reason == "unfinished"
        self._done(item, events, previous, "incomplete" if unfinished else "completed")

    def _add(self, item: Item) -> tuple[ItemEvents, str | None]:
        events = ItemEvents(self._response_id, len(self.items), item.id)
        self.items.append(item)
        self.made.items += 1
        self._emit(events.added(item.shown()))
        previous = None
        if self._place is not None:
            previous = self._place(item)
            self._emit(item_added(item.shown(), previous))
        return events, previous

    def _done(
        self, item: Item, events: ItemEvents, previous: str | None, status: Literal["completed", "incomplete"]
    ) -> None:
        item.status = status
        if self._place is not None:
            self._emit(item_done(item.shown(), previous))
        self._emit(events.done(item.shown()))

    def _part(self, text: str) -> dict[str, str]:
        return {"type": "audio", "transcript": text} if self.spoken else {"type": "text", "text": text}
