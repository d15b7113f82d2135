"""The items of a conversation, in order."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy as np
from jaxtyping import Float32

from fac_jax.batching.conversation import GeneratedReply, StoredFeatures
from fac_jax.serving.realtime.client_events import ItemFields
from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.server_events import new_id
from fac_jax.serving.realtime.settings import G711, Pcm
from fac_jax.serving.realtime.sound import encoded

HEARD_RATE: Final = 16_000  # Hz of the waves of users
ROOT: Final = "root"  # in place of the id of an item: before the first


@dataclasses.dataclass(eq=False)
class Part:
    """A part of a message.

    Attributes:
      type: as in the protocol.
      text: its text, or the transcript of its audio; None for audio that nobody has written down.
      wave: of a user, float32 at 16 kHz; None for a text, and for audio that is not ready or not kept.
      features: what the encoder made of the wave while it came.
    """

    type: Literal["input_text", "input_audio", "output_text", "output_audio"]
    text: str | None
    wave: Float32[np.ndarray, " N"] | None = None
    features: StoredFeatures | None = None

    def shown(self, form: Pcm | G711 | None) -> dict[str, Any]:
        """Returns the part as the protocol shows it, with the user's audio if a format is given."""
        if self.type in ("input_text", "output_text"):
            return {"type": self.type, "text": self.text}
        shown: dict[str, Any] = {"type": self.type, "transcript": self.text}
        if form is not None and self.type == "input_audio":
            shown["audio"] = "" if self.wave is None else encoded(self.wave, HEARD_RATE, form)
        return shown


@dataclasses.dataclass(eq=False)
class Made:
    """A reply of the model, which the items of its response share.

    Attributes:
      ids: of the reply; None while it is being made, and where it never began.
      settled: whether it has ended.
      heard_s: seconds of its speech that the user heard, where the client said so.
      items: that it has.
    """

    ids: GeneratedReply | None = None
    settled: bool = False
    heard_s: float | None = None
    items: int = 0


@dataclasses.dataclass(eq=False)
class Item:
    """An item.

    Attributes:
      id: of the item.
      type: of the item.
      role: who speaks; None for a call and its output.
      parts: of a message.
      name: of the function that is called.
      call_id: of a call, and of its output.
      arguments: of a call.
      output: of a call.
      status: of the item.
      made: the reply that it belongs to; None for what a client created.
      sent_s: seconds of its speech that were sent.
      ready: whether the user's audio is there.
      forgotten: whether it fell out of the context.
      deleted: whether it was taken out of the conversation.
    """

    id: str
    type: Literal["message", "function_call", "function_call_output"]
    role: Literal["system", "user", "assistant"] | None = None
    parts: list[Part] = dataclasses.field(default_factory=list)
    name: str = ""
    call_id: str = ""
    arguments: str = ""
    output: str = ""
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    made: Made | None = None
    sent_s: float = 0.0
    ready: bool = True
    forgotten: bool = False
    deleted: bool = False

    @property
    def settled(self) -> bool:
        """Returns whether the item can go into a prompt."""
        return self.ready and (self.made is None or self.made.settled)

    @property
    def text(self) -> str:
        """Returns its texts and transcripts."""
        return "\n".join(part.text for part in self.parts if part.text)

    def shown(self, form: Pcm | G711 | None = None) -> dict[str, Any]:
        """Returns the item as the protocol shows it, with the user's audio if a format is given."""
        shown: dict[str, Any] = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        if self.type == "message":
            return {**shown, "role": self.role, "content": [part.shown(form) for part in self.parts]}
        if self.type == "function_call":
            return {**shown, "name": self.name, "call_id": self.call_id, "arguments": self.arguments}
        return {**shown, "call_id": self.call_id, "output": self.output}


def from_client(fields: ItemFields, parts: list[Part]) -> Item:
    """Returns the item that a client describes; its parts have been read."""
    item_id = fields.id or new_id("item")
    if fields.type == "message":
        return Item(item_id, "message", fields.role, parts)
    call_id = fields.call_id or new_id("call")
    if fields.type == "function_call":
        return Item(item_id, "function_call", name=fields.name or "", call_id=call_id, arguments=fields.arguments or "")
    return Item(item_id, "function_call_output", call_id=call_id, output=fields.output or "")


class Items:
    """The items of a conversation, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._items: list[Item] = []

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def find(self, item_id: str) -> Item | None:
        """Returns the item of an id, if it is there."""
        return next((item for item in self._items if item.id == item_id), None)

    def create(self, item: Item, after: str | None) -> str | None:
        """Puts an item of a client behind another one, before the first (`ROOT`), or at the end (None).

        Returns:
          id of the item before it; None for none.

        Raises:
          RefusedError: there is an item of its id, none to follow, or no room.
        """
        if item.id == ROOT or self.find(item.id) is not None:
            message = f"There is an item {item.id!r} already."
            raise RefusedError(message, "item_create_duplicate_item_id", "item.id")
        ids = [one.id for one in self._items]
        if after not in (None, ROOT, *ids):
            message = f"There is no item {after!r} to follow."
            raise RefusedError(message, "item_create_invalid_previous_item_id", "previous_item_id")
        if len(self) >= self._most:
            message = f"A conversation has at most {self._most} items; delete some."
            raise RefusedError(message, "item_create_limit_exceeded", "item")
        place = len(self) if after is None else 0 if after == ROOT else ids.index(after) + 1
        self._items.insert(place, item)
        return ids[place - 1] if place else None

    def append(self, item: Item) -> str | None:
        """Puts an item of the talk itself at the end, for which the oldest makes room; returns the id before it."""
        while len(self) >= self._most:
            self.remove(self._items[0])
        self._items.append(item)
        return self._items[-2].id if len(self) > 1 else None

    def remove(self, item: Item) -> None:
        """Takes an item out."""
        self._items.remove(item)
        item.deleted = True

    def forget_audio(self, most_s: float) -> None:
        """Forgets the oldest waves of the user, so that at most so many seconds are kept."""
        seconds = 0.0
        for item in reversed(self._items):
            for part in reversed(item.parts):
                if part.wave is not None:
                    seconds += len(part.wave) / HEARD_RATE
                    if seconds > most_s:
                        part.wave = part.features = None
