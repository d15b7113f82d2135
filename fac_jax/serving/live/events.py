"""The events of the Live protocol (docs/serving.md): those of clients, checked, and those of the server."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import numpy as np
from jaxtyping import Float32
from pydantic import Field

from fac_jax.serving.realtime.fields import Fields, checked
from fac_jax.serving.realtime.refused import INVALID_VALUE, MISSING, RefusedError
from fac_jax.serving.realtime.server_events import ServerEvent
from fac_jax.serving.realtime.settings import Pcm
from fac_jax.serving.realtime.sound import to_base64

AUDIO: Final = "session.output_audio.delta"
_UNSUPPORTED: Final = ("response.", "decision.", "transport.", "session.output_audio.fixture.")


class ClientEvent(Fields):
    """What every event has."""

    event_id: Annotated[str, Field(max_length=512)] | None = None


class Format(Fields):
    """16-bit samples, little endian, of one channel."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[16_000, 24_000] = 24_000


class CustomVoice(Fields):
    """A voice by its id."""

    id: str


class Output(Fields):
    """How the model is heard."""

    voice: str | CustomVoice | None = None


class Audio(Fields):
    """The audio of both sides."""

    format: Format = Format()
    output: Output = Output()


class Part(Fields):
    """A part of a message; all of them are text."""

    type: Literal["text", "input_text", "output_text"] = "text"
    text: str


class Message(Fields):
    """A message before the session begins."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "developer", "system"]
    content: list[Part]

    @property
    def text(self) -> str:
        """Returns its text."""
        return "\n".join(part.text for part in self.content)


class Delegation(Fields):
    """Who does what the model cannot; we know the client alone."""

    type: Literal["client"] = "client"


class Config(Fields):
    """How a session begins."""

    model: str
    instructions: str = ""
    audio: Audio = Audio()
    input: list[Message] | None = None
    delegation: Delegation = Delegation()


class Start(ClientEvent):
    """Begins the session; first, and once."""

    session: Config


class AppendAudio(ClientEvent):
    """Brings more of the user's audio, in base64; silence too."""

    audio: str


class Mute(ClientEvent):
    """From now on the user is not heard."""


class Unmute(ClientEvent):
    """From now on the user is heard again."""


class AppendInstructions(ClientEvent):
    """Tells the model more about its task, from its next reply on."""

    content: str


class AppendThinking(AppendInstructions):
    """Tells the model what was thought elsewhere."""


class AppendCommentary(AppendInstructions):
    """Tells the model what it should say."""


class UpdateConfig(Fields):
    """What can change."""

    delegation: Delegation | None = None


class Update(ClientEvent):
    """Changes the session."""

    session: UpdateConfig


class Close(ClientEvent):
    """Ends the session."""


_EVENTS: Final[dict[str, type[ClientEvent]]] = {
    "session.start": Start,
    "session.input_audio.append": AppendAudio,
    "session.input_audio.mute": Mute,
    "session.input_audio.unmute": Unmute,
    "session.instructions.append": AppendInstructions,
    "session.thinking.append": AppendThinking,
    "session.commentary.append": AppendCommentary,
    "session.update": Update,
    "session.close": Close,
}


def parse(event: Mapping[str, Any]) -> ClientEvent:
    """Returns an event of a client.

    Raises:
      RefusedError: it is unknown, or a field is wrong.
    """
    if "type" not in event:
        raise RefusedError("Missing required parameter: 'type'.", MISSING, "type")
    kind = event["type"]
    if not isinstance(kind, str) or kind not in _EVENTS:
        unsupported = isinstance(kind, str) and kind.startswith(_UNSUPPORTED)
        code = "unsupported_event" if unsupported else INVALID_VALUE
        raise RefusedError(f"Invalid value: {str(kind)[:100]!r}", code, "type")
    return checked(_EVENTS[kind], event)


def error_event(refused: RefusedError, event_id: str | None) -> ServerEvent:
    """A client event that was not carried out, or a fault; `event_id` is the client's."""
    told = {"type": refused.kind, "code": refused.code, "message": refused.message, "param": refused.param}
    return {"type": "error", "error": told | {"client_event_id": event_id}}


def audio_delta(samples: Float32[np.ndarray, " N"]) -> ServerEvent:
    """What the model says in a slot; at the rate of the session. It is the one event without an id."""
    return {"type": AUDIO, "delta": to_base64(samples, Pcm())}


def transcript_delta(side: Literal["input", "output"], text: str, start_ms: int, end_ms: int) -> ServerEvent:
    """More of what the user or the model says."""
    return {"type": f"session.{side}_transcript.delta", "delta": text, "start_ms": start_ms, "end_ms": end_ms}


def closed(reason: str, session: Mapping[str, Any], seconds: float) -> ServerEvent:
    """The last event."""
    return {"type": "session.closed", "reason": reason, "session": session, "usage": {"seconds": seconds}}


def usage_updated(seconds: float, ratio: float) -> ServerEvent:
    """How long the session has been, and which part of the context it fills."""
    used = {"usage_ratio": round(min(ratio, 1.0), 4)}
    return {"type": "session.usage.updated", "usage": {"seconds": seconds}, "context_window": used}
