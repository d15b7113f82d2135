"""Follows one reply of the engine: its text without calls, its calls, its audio, and where it ends."""

import asyncio
import dataclasses
import json
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.serving.prompting import name_in
from fac_jax.serving.talk import Audio, Began, Ended, Engine, Event, Handle, Step, TalkRequest
from fac_jax.serving.web.errors import ApiError, full
from fac_jax.text.tool_calls import BadToolCall, Text, ToolCall, ToolCallParser

Finish: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclasses.dataclass(frozen=True)
class Said:
    """Text of the reply outside of calls; never empty."""

    text: str


@dataclasses.dataclass(frozen=True, eq=False)
class Heard:
    """Samples of the reply's speech."""

    samples: Float32[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True)
class Called:
    """A call: its number in the reply, its id, the function, and its arguments as JSON or what was written instead."""

    index: int
    id: str
    name: str
    arguments: str


Delta: TypeAlias = Said | Heard | Called


@dataclasses.dataclass
class Usage:
    """LLM positions of a request: of its prompt, of those with speech, of those computed before; the same made."""

    prompt: int = 0
    prompt_audio: int = 0
    cached: int = 0
    made: int = 0
    made_audio: int = 0


class Stops:
    """Cuts a text before the first of some texts, and holds back what may be the beginning of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops, self._pending = stops, ""
        self.met = False

    def push(self, text: str) -> str:
        """Takes the next piece of the text and returns what is certain; nothing more once a stop was met."""
        if self.met:
            return ""
        self._pending += text
        found = [at for stop in self._stops if (at := self._pending.find(stop)) >= 0]
        self.met = bool(found)
        keep = 0 if self.met else max((self._held(stop) for stop in self._stops), default=0)
        certain = self._pending[: min(found, default=len(self._pending) - keep)]
        self._pending = self._pending[len(certain) :]
        return certain

    def close(self) -> str:
        """Ends the text; returns what was held back."""
        return "" if self.met else self._pending

    def _held(self, stop: str) -> int:
        return next(n for n in range(len(stop) - 1, -1, -1) if self._pending.endswith(stop[:n]))


class Running:
    """One reply that is asked for, begun and handed out.

    Speech is held back while the reply has written nothing but calls, and dropped if it ends so: a call is not spoken.

    Attributes:
      usage: so far.
      text: outside of calls, so far.
      finish: why it ended; None before.
      reply: its ids; None before its end.
    """

    def __init__(self, request: TalkRequest, tools: bool, stops: tuple[str, ...]) -> None:
        self.usage = Usage()
        self.text = ""
        self.finish: Finish | None = None
        self.reply: GeneratedReply | None = None
        self._request = request
        self._parser = ToolCallParser() if tools else None
        self._stops = Stops(stops)
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._handle: Handle | None = None
        self._calls = 0
        self._said = not tools
        self._silent: list[Heard] = []

    async def begin(self, engine: Engine) -> None:
        """Asks for the reply and waits for its slot.

        Raises:
          ApiError: 503, no slot became free in time; or 500.
          InputError: see `Engine.submit`.
        """
        self._handle = engine.submit(self._request, self._events.put_nowait)
        first = await self._events.get()
        if isinstance(first, Ended):
            raise _fault(first)
        if isinstance(first, Began):
            self.usage.prompt, self.usage.prompt_audio = first.positions, first.audio_positions
            self.usage.cached = first.reused

    async def deltas(self, rate: int) -> AsyncIterator[Delta]:
        """Hands the reply out; taken as played when it is taken, since whoever takes it is not listening yet.

        Raises:
          ApiError: 500, the engine failed.
        """
        assert self._handle is not None
        heard = 0
        while True:
            event = await self._events.get()
            if isinstance(event, Audio):
                heard += len(event.samples)
                self._handle.played(heard / rate)
                for delta in self._speech(Heard(event.samples)):
                    yield delta
            elif isinstance(event, Step):
                self.usage.made += 1
                self.usage.made_audio += bool(event.units.size)
                for delta in self._text(event.text):
                    yield delta
            elif isinstance(event, Ended):
                if event.reason in ("failed", "full"):
                    raise _fault(event)
                for delta in self._end(event):
                    yield delta
                return

    def cancel(self) -> None:
        """Ends the reply, if it has not ended; for clients that have gone."""
        if self._handle is not None:
            self._handle.cancel()

    def _text(self, text: str) -> list[Delta]:
        """What a piece of the reply's text says and calls."""
        events = self._parser.push(text) if self._parser else [Text(text)]
        return self._read(events)

    def _read(self, events: Sequence[Text | ToolCall | BadToolCall]) -> list[Delta]:
        deltas: list[Delta] = []
        for event in events:
            if self._stops.met:
                break
            if isinstance(event, Text):
                deltas += self._say(self._stops.push(event.text))
                if self._stops.met:
                    self.cancel()
            else:
                bad = isinstance(event, BadToolCall)
                name = name_in(event.text) if bad else event.name
                arguments = event.text if bad else json.dumps(event.arguments, ensure_ascii=False)
                deltas.append(Called(self._calls, f"call_{secrets.token_hex(10)}", name, arguments))
                self._calls += 1
        return deltas

    def _say(self, text: str) -> list[Delta]:
        if not text:
            return []
        if text.isspace() and not self._said:  # the line breaks around calls
            return []
        self._said = True
        self.text += text
        held, self._silent = self._silent, []
        return [Said(text), *held]

    def _speech(self, heard: Heard) -> list[Heard]:
        if self._said:
            return [heard]
        self._silent.append(heard)
        return []

    def _end(self, event: Ended) -> list[Delta]:
        deltas = self._read(self._parser.close() if self._parser else [])
        deltas += self._say(self._stops.close())
        if not self._calls:
            deltas += self._silent
        self.reply = event.reply
        self.finish = "length" if event.reason == "limit" else "tool_calls" if self._calls else "stop"
        return deltas


def _fault(event: Ended) -> ApiError:
    if event.reason == "full":
        return full("No slot became free in time; try again.")
    return ApiError(500, "The engine failed; try again.", "engine_failed")
