"""A request that is under way, and the reply that is being made for it."""

import dataclasses
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Int32

from fac_jax.batching.conversation import Conversation, GeneratedReply
from fac_jax.batching.generated import closed
from fac_jax.batching.grid import Example
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.serving.engine.ears import Heard
from fac_jax.serving.engine.prompts import Piece
from fac_jax.serving.talk import Ended, Event, Reason, Step, TalkRequest
from fac_jax.text.special_ids import SpecialIds
from fac_jax.text.tokenizer import Tokenizer

URGENT_S = 0.5  # of speech that a listener still has, below which a reply has to be spoken
BROKEN = "\N{REPLACEMENT CHARACTER}"  # stands for the beginning of a character whose other bytes are to come

# "waiting" for a slot, its "prompt" is run in pieces, it is being "made", or only to be "spoken"; then "over".
Stage: TypeAlias = Literal["waiting", "prompt", "made", "spoken", "over"]


class Made:
    """The ids of a reply, as they are made."""

    def __init__(self, group_size: int, forced: Sequence[int] = ()) -> None:
        """Begins without any but those that it was forced to begin with, which are in no step."""
        self.forced = list(forced)
        self.text_ids: list[int] = []
        self._groups: list[Int32[np.ndarray, " G"]] = []
        self._groups_after: list[int] = []  # each step
        self._group_size = group_size

    def add(self, text_id: int, group: Int32[np.ndarray, " G"] | None) -> None:
        """Adds what a step has made."""
        self.text_ids.append(text_id)
        if group is not None:
            self._groups.append(group)
        self._groups_after.append(len(self._groups))

    @property
    def groups(self) -> int:
        """Returns the number of groups."""
        return len(self._groups)

    def reply(self, special: SpecialIds, steps: int | None = None) -> GeneratedReply | None:
        """Returns what the first steps have made, or all of them, closed; None if that is nothing."""
        ids = self.text_ids[:steps]
        if not ids:
            return None
        groups = self._groups[: self._groups_after[len(ids) - 1]]
        speech = np.stack(groups) if groups else np.zeros((0, self._group_size), np.int32)
        return closed(GeneratedReply(np.array([*self.forced, *ids], np.int32), speech), special)


@dataclasses.dataclass(eq=False)
class Talk:
    """A request that is under way; the engine's thread owns it, except for what is said otherwise.

    Attributes:
      request: what is asked for.
      heard: its conversation, with the waves that the model hears.
      made: ids of the reply.
      asked_at: when it was asked for.
      session: whose caches it may continue, and leaves behind; None after `Engine.forget`.
      tell: is told the events, in the engine's thread.
      adapter: number of the adapter that its model has, from 1; 0 for the base.
      conversation: with what is encoded of it.
      stage: how far it is.
      slot: where the reply is made.
      prompt: its prompt.
      pieces: pieces of the prompt that are to be run.
      reused: positions of the prompt that the slot held.
      filled: positions of the prompt that the slot holds, while it is run.
      began_at: when it got its slot.
      steps: text ids that were asked of the device.
      units: codec ids of its speech.
      paused: whether it is so far ahead of its listener that it waits.
      said_s: seconds of its speech that were spoken.
      played: seconds of its speech that the listener has had, set by any thread; None if nobody says it.
      reason: of its end, once it is known.
      characters: of its text that were told.
    """

    request: TalkRequest
    heard: Heard
    made: Made
    asked_at: float
    session: str | None
    tell: Callable[[Event], None] = lambda _: None
    adapter: int = 0
    conversation: Conversation | None = None
    stage: Stage = "waiting"
    slot: int = -1
    prompt: Example | None = None
    pieces: deque[Piece] = dataclasses.field(default_factory=deque)
    reused: int = 0
    filled: int = 0
    began_at: float = 0.0
    steps: int = 0
    units: int = 0
    paused: bool = False
    said_s: float = 0.0
    played: float | None = None
    reason: Reason = "stop"
    characters: int = 0

    @property
    def ahead_s(self) -> float:
        """Returns how many seconds of its speech the listener has not had; 0 if nobody says what the listener had."""
        return 0.0 if self.played is None else self.units / TOKEN_RATE - self.played

    @property
    def urgent(self) -> bool:
        """Returns whether its listener may soon have nothing to hear."""
        return self.played is None or self.said_s - self.played < URGENT_S

    @property
    def can_wait(self) -> bool:
        """Returns whether other prompts may begin before its next step: not if text or sound would stand still."""
        return self.request.spoken and (not self.said_s or not self.urgent)

    @property
    def limit(self) -> int:
        """Returns the most text ids that are made, besides those that the reply is forced to begin with."""
        return max(self.request.limit - len(self.made.forced), 1)

    @property
    def voice(self) -> str | None:
        """Returns the name of the speaker; None for the codec's own."""
        return self.request.voice

    @property
    def draws(self) -> bool:
        """Returns whether an id of either stream is drawn."""
        return any(float(stream.temperature) > 0 for stream in (self.request.text, self.request.speech))

    def step(self, text_id: int, group: np.ndarray | None, last: bool, units: int, tokenizer: Tokenizer) -> np.ndarray:
        """Takes the ids of a step, tells them, and returns its codec ids, those below `units`."""
        number = len(self.made.text_ids)
        self.made.add(text_id, group)
        text = spelled(tokenizer, [*self.made.forced, *self.made.text_ids], last)
        spoken = np.zeros(0, np.int32) if group is None else group[group < units]
        self.tell(Step(number, text_id, text[self.characters :], spoken))
        self.characters, self.units = len(text), self.units + len(spoken)
        return spoken

    def end(self, reason: Reason, special: SpecialIds, error: str = "") -> None:
        """Tells that the reply has ended."""
        self.stage = "over"
        self.tell(Ended(reason, self.made.reply(special), error))


def spelled(tokenizer: Tokenizer, ids: Sequence[int], last: bool) -> str:
    """Returns the text of ids as `generation.stream` gives it: without spaces around it, in whole characters."""
    text = tokenizer.decode(ids).lstrip()
    return text.rstrip() if last else text.rstrip(BROKEN).rstrip()
