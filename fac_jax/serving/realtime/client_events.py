"""The events that clients send (docs/serving.md): their fields, checked."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import Field

from fac_jax.serving.realtime.fields import Fields, checked
from fac_jax.serving.realtime.refused import INVALID_VALUE, MISSING, RefusedError

Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]
Key: TypeAlias = Annotated[str, Field(max_length=64)]
Value: TypeAlias = Annotated[str, Field(max_length=512)]


class ClientEvent(Fields):
    """What every event has."""

    event_id: Annotated[str, Field(max_length=512)] | None = None


class SessionUpdate(ClientEvent):
    """Changes the fields of the session that are given."""

    session: dict[str, Any]


class AppendAudio(ClientEvent):
    """Brings more of the user's audio, in base64."""

    audio: str


class CommitAudio(ClientEvent):
    """Makes an item of the audio that was appended."""


class ClearAudio(ClientEvent):
    """Forgets the audio that was appended."""


class PartFields(Fields):
    """A part of a message."""

    type: Literal["input_text", "input_audio", "output_text", "output_audio"]
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None


class ItemFields(Fields):
    """An item of the conversation, or in the input of a response a reference to one."""

    type: Literal["message", "function_call", "function_call_output", "item_reference"]
    id: Id | None = None
    role: Literal["system", "user", "assistant"] | None = None
    content: list[PartFields] | None = None
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    call_id: Id | None = None
    arguments: str | None = None
    output: str | None = None


class CreateItem(ClientEvent):
    """Puts an item into the conversation: behind another one, at the `root`, or at the end."""

    item: ItemFields
    previous_item_id: Id | None = None


class RetrieveItem(ClientEvent):
    """Asks for an item with its audio."""

    item_id: Id


class TruncateItem(ClientEvent):
    """Says how much of a spoken reply the user heard."""

    item_id: Id
    content_index: int
    audio_end_ms: int


class DeleteItem(ClientEvent):
    """Takes an item out of the conversation."""

    item_id: Id


class ResponseFields(Fields):
    """What a response has besides the settings that it shares with the session (`settings.Settings`)."""

    metadata: Annotated[dict[Key, Value], Field(max_length=16)] | None = None
    conversation: Literal["auto", "none"] | None = None
    input: list[ItemFields] | None = None


class CreateResponse(ClientEvent):
    """Asks for a response."""

    response: dict[str, Any] | None = None


class CancelResponse(ClientEvent):
    """Ends a response."""

    response_id: Id | None = None


EVENTS: Final[Mapping[str, type[ClientEvent]]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.append": AppendAudio,
    "input_audio_buffer.commit": CommitAudio,
    "input_audio_buffer.clear": ClearAudio,
    "conversation.item.create": CreateItem,
    "conversation.item.retrieve": RetrieveItem,
    "conversation.item.truncate": TruncateItem,
    "conversation.item.delete": DeleteItem,
    "response.create": CreateResponse,
    "response.cancel": CancelResponse,
}

_NEEDED: Final = {  # fields of an item, by its type
    "message": ("role", "content"),
    "function_call": ("name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "item_reference": ("id",),
}
_PARTS: Final = {  # of a message, by its role: types and the field that each has
    "system": {"input_text": "text"},
    "user": {"input_text": "text", "input_audio": "audio"},
    "assistant": {"output_text": "text", "output_audio": "transcript"},
}


def read_event(event: Mapping[str, Any]) -> ClientEvent:
    """Returns a client event with its fields checked.

    Raises:
      RefusedError: the type is missing or not known, or a field is wrong.
    """
    kind = event.get("type")
    if kind is None:
        raise RefusedError("Missing required parameter: 'type'.", INVALID_VALUE, "type")
    if kind == "output_audio_buffer.clear":
        raise RefusedError("output_audio_buffer.clear is for WebRTC only.", INVALID_VALUE, "type")
    if not isinstance(kind, str) or kind not in EVENTS:
        raise RefusedError(f"Invalid value: {str(kind)[:100]!r} is no client event.", INVALID_VALUE, "type")
    return checked(EVENTS[kind], event)


def check_item(item: ItemFields, path: str) -> None:
    """Checks what the fields of an item say about each other.

    Raises:
      RefusedError: a field is missing, or a part does not belong into a message of this role.
    """
    for name in _NEEDED[item.type]:
        if getattr(item, name) is None:
            raise RefusedError(f"Missing required parameter: '{path}.{name}'.", MISSING, f"{path}.{name}")
    if item.type != "message":
        return
    parts = _PARTS[item.role or "user"]
    for number, part in enumerate(item.content or ()):
        where = f"{path}.content[{number}]"
        if part.type not in parts:
            raise RefusedError(f"A message of {item.role} has no part {part.type}.", INVALID_VALUE, f"{where}.type")
        if getattr(part, parts[part.type]) is None:
            missing = f"{where}.{parts[part.type]}"
            raise RefusedError(f"Missing required parameter: '{missing}'.", MISSING, missing)
