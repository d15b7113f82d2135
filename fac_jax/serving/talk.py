"""What the protocol side of the server asks of the engine, and what it is told.

The protocol side runs in an asyncio loop and holds conversations; the engine runs in a thread of its own, which alone
touches the device. Calls of `Engine` return at once and may come from the loop only; events are delivered in the loop,
in order, by the callback that was given with a request.
"""

import dataclasses
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias

import numpy as np
from jaxtyping import Float32, Int32

from fac_jax.batching.conversation import Conversation, GeneratedReply, StoredFeatures
from fac_jax.generation.sampling import GREEDY, Sampling

Reason: TypeAlias = Literal["stop", "limit", "cancelled", "full", "failed"]


@dataclasses.dataclass(frozen=True, eq=False)
class TalkRequest:
    """A reply that is asked for.

    Attributes:
      conversation: ends with a user's turn; earlier replies of the model are turns with `generated` ids, or texts.
      spoken: whether the reply is spoken, or text alone.
      limit: most text ids of the reply; one is 200 ms of speech.
      seed: of the draws.
      text: how text ids are picked.
      speech: how speech ids are picked.
      voice: name of the speaker; None for the codec's own.
      model: one of `Engine.models`; None for the first.
      session: conversations with the same key share what was computed of their common beginning.
      forced: text that a reply in text begins with; it counts in `limit`, of which one id at least is left.
    """

    conversation: Conversation
    spoken: bool
    limit: int
    seed: int = 0
    text: Sampling = GREEDY
    speech: Sampling = GREEDY
    voice: str | None = None
    model: str | None = None
    session: str | None = None
    forced: str = ""


@dataclasses.dataclass(frozen=True)
class Began:
    """The request has a slot; its prompt has been run.

    Attributes:
      queued_s: seconds from the request to the slot.
      prefill_s: seconds of the prompt pass.
      positions: LLM positions of the prompt; `reused` of them had been computed before.
      audio_positions: those of `positions` that carry speech.
    """

    queued_s: float
    prefill_s: float
    positions: int
    reused: int
    audio_positions: int


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """One LLM step of a reply, 200 ms of speech.

    Attributes:
      number: of the step, from 0.
      text_id: the id that was picked.
      text: what the reply's text goes on with, whole characters; may be empty.
      units: codec ids of the group that was spoken, at 25 Hz; empty for a step without speech.
    """

    number: int
    text_id: int
    text: str
    units: Int32[np.ndarray, " G"]


@dataclasses.dataclass(frozen=True, eq=False)
class Audio:
    """Samples of the reply's speech, in [-1, 1] at `Engine.rate` Hz."""

    samples: Float32[np.ndarray, " N"]


@dataclasses.dataclass(frozen=True, eq=False)
class Ended:
    """The end of a reply; the last event of a request.

    Attributes:
      reason: "stop": the model ended it. "limit": its text ids are used up. "cancelled": by `Handle.cancel`. "full": no
        slot became free in time. "failed": the engine failed.
      reply: all ids, closed so that a conversation can go on after it (`batching.generated.closed`); None if it never
        began.
      error: what failed, in one line; "" otherwise.
    """

    reason: Reason
    reply: GeneratedReply | None
    error: str = ""


Event: TypeAlias = Began | Step | Audio | Ended
Deliver: TypeAlias = Callable[[Event], None]


class Handle(Protocol):
    """A request that is under way."""

    def cancel(self) -> None:
        """Ends the reply at the next step; `Ended` follows, and no `Step` or `Audio` before it."""
        ...

    def played(self, seconds: float) -> None:
        """Says how much of the reply's speech the listener has had, so that the engine runs not too far ahead."""
        ...


class Listening(Protocol):
    """A user's audio that is encoded while it arrives."""

    def push(self, samples: Float32[np.ndarray, " N"]) -> None:
        """Takes samples at `Engine.heard_rate` Hz."""
        ...

    async def close(self) -> tuple[Float32[np.ndarray, " N"], StoredFeatures | None]:
        """Ends the audio; returns its wave at 16 kHz, and its features where it was encoded on the way."""
        ...

    def drop(self) -> None:
        """Forgets the audio."""
        ...


class Engine(Protocol):
    """Replies to many conversations side by side.

    Attributes:
      model: name of the model, without an adapter beside it.
      models: that name, and those of the same model with an adapter.
      rate: sampling rate of spoken replies in Hz.
      heard_rate: sampling rate in Hz that `Listening.push` takes.
      voices: names of the speakers; the first is the codec's own. Empty if the model cannot speak.
      context: LLM positions that a prompt and its reply may have.
    """

    model: str
    models: tuple[str, ...]
    rate: int
    heard_rate: int
    voices: tuple[str, ...]
    context: int

    @property
    def ready(self) -> bool:
        """Returns whether everything is compiled, and more talks may come."""
        ...

    @property
    def alive(self) -> bool:
        """Returns whether the engine thread has done something in the last 5 s."""
        ...

    def submit(self, request: TalkRequest, deliver: Deliver) -> Handle:
        """Asks for a reply.

        Raises:
          InputError: the conversation and the limit do not fit the context, or it ends with no user's turn.
        """
        ...

    def listen(self) -> Listening:
        """Begins a user's audio."""
        ...

    def positions(self, conversation: Conversation) -> int:
        """Returns the LLM positions of a conversation as a prompt."""
        ...

    def cut(self, reply: GeneratedReply, seconds: float) -> GeneratedReply:
        """Returns the part of a spoken reply that was heard in so many seconds of its speech, closed."""
        ...

    def text_of(self, reply: GeneratedReply) -> str:
        """Returns the text of a reply, special tokens left out."""
        ...

    def forget(self, session: str) -> None:
        """Frees what is kept of a session."""
        ...
