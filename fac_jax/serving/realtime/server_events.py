"""The events that the server sends (docs/serving.md), without the `event_id` that each gets when it goes out.

Their fields are those that the `openai` SDK's models ask for; `previous_item_id` is null at the head of a conversation.
"""

import dataclasses
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from fac_jax.serving.realtime.refused import RefusedError

ServerEvent: TypeAlias = dict[str, Any]


def new_id(prefix: str) -> str:
    """Returns a fresh id, such as `item_3f..`."""
    return f"{prefix}_{secrets.token_hex(10)}"


def error(refused: RefusedError, event_id: str | None) -> ServerEvent:
    """A client event that was not carried out; `event_id` is the client's."""
    return {
        "type": "error",
        "error": {
            "type": refused.kind,
            "code": refused.code,
            "message": refused.message,
            "param": refused.param,
            "event_id": event_id,
        },
    }


def session_created(session: Mapping[str, Any]) -> ServerEvent:
    """The first event of a session."""
    return {"type": "session.created", "session": session}


def session_updated(session: Mapping[str, Any]) -> ServerEvent:
    """The answer to `session.update`, with the whole session."""
    return {"type": "session.updated", "session": session}


def item_added(item: Mapping[str, Any], previous: str | None) -> ServerEvent:
    """An item is in the conversation."""
    return {"type": "conversation.item.added", "previous_item_id": previous, "item": item}


def item_done(item: Mapping[str, Any], previous: str | None) -> ServerEvent:
    """An item is complete."""
    return {"type": "conversation.item.done", "previous_item_id": previous, "item": item}


def item_retrieved(item: Mapping[str, Any]) -> ServerEvent:
    """An item with its audio."""
    return {"type": "conversation.item.retrieved", "item": item}


def item_deleted(item_id: str) -> ServerEvent:
    """An item is gone."""
    return {"type": "conversation.item.deleted", "item_id": item_id}


def item_truncated(item_id: str, content_index: int, audio_end_ms: int) -> ServerEvent:
    """What the user did not hear of a reply is forgotten."""
    return {
        "type": "conversation.item.truncated",
        "item_id": item_id,
        "content_index": content_index,
        "audio_end_ms": audio_end_ms,
    }


def transcription(what: str, item_id: str, **fields: Any) -> ServerEvent:
    """News of what the user said: `delta`, `completed` or `failed`."""
    kind = f"conversation.item.input_audio_transcription.{what}"
    return {"type": kind, "item_id": item_id, "content_index": 0, **fields}


def buffer(what: str, **fields: Any) -> ServerEvent:
    """News of the input audio buffer, such as `committed`."""
    return {"type": f"input_audio_buffer.{what}", **fields}


def response_created(response: Mapping[str, Any]) -> ServerEvent:
    """A response is accepted."""
    return {"type": "response.created", "response": response}


def response_done(response: Mapping[str, Any]) -> ServerEvent:
    """A response has ended, in whatever way."""
    return {"type": "response.done", "response": response}


@dataclasses.dataclass(frozen=True)
class ItemEvents:
    """The events of one item of a response.

    Attributes:
      response_id: id of the response.
      output_index: place of the item in the response.
      item_id: id of the item.
    """

    response_id: str
    output_index: int
    item_id: str

    def added(self, item: Mapping[str, Any]) -> ServerEvent:
        """The item has begun."""
        return self._item("added", item)

    def done(self, item: Mapping[str, Any]) -> ServerEvent:
        """The item has ended."""
        return self._item("done", item)

    def part(self, what: str, part: Mapping[str, Any]) -> ServerEvent:
        """A part is `added` or `done`."""
        return self._of_part(f"content_part.{what}", part=part)

    def audio_delta(self, audio: str) -> ServerEvent:
        """More audio, in base64."""
        return self._of_part("output_audio.delta", delta=audio)

    def audio_done(self) -> ServerEvent:
        """The audio has ended."""
        return self._of_part("output_audio.done")

    def text_delta(self, text: str, spoken: bool) -> ServerEvent:
        """More text, or of a spoken item more of its transcript."""
        return self._of_part("output_audio_transcript.delta" if spoken else "output_text.delta", delta=text)

    def text_done(self, text: str, spoken: bool) -> ServerEvent:
        """The whole text, or transcript."""
        if spoken:
            return self._of_part("output_audio_transcript.done", transcript=text)
        return self._of_part("output_text.done", text=text)

    def call(self, what: str, call_id: str, **fields: Any) -> ServerEvent:
        """News of the arguments of a call: `delta` or `done`."""
        return self._event(f"function_call_arguments.{what}", item_id=self.item_id, call_id=call_id, **fields)

    def _item(self, what: str, item: Mapping[str, Any]) -> ServerEvent:
        return self._event(f"output_item.{what}", item=item)

    def _of_part(self, what: str, **fields: Any) -> ServerEvent:
        return self._event(what, item_id=self.item_id, content_index=0, **fields)

    def _event(self, what: str, **fields: Any) -> ServerEvent:
        return {
            "type": f"response.{what}",
            "response_id": self.response_id,
            "output_index": self.output_index,
            **fields,
        }


def usage(positions: int, audio: int, reused: int, made: int, spoken: int) -> dict[str, Any]:
    """Counts LLM positions.

    Args:
      positions: of the prompt.
      audio: of them that carry speech.
      reused: of them that had been computed before; the share of speech is taken to be that of the prompt.
      made: of the reply.
      spoken: of them that carry speech.
    """
    reused_audio = reused * audio // max(positions, 1)
    return {
        "total_tokens": positions + made,
        "input_tokens": positions,
        "output_tokens": made,
        "input_token_details": {
            "text_tokens": positions - audio,
            "audio_tokens": audio,
            "image_tokens": 0,
            "cached_tokens": reused,
            "cached_tokens_details": {
                "text_tokens": reused - reused_audio,
                "audio_tokens": reused_audio,
                "image_tokens": 0,
            },
        },
        "output_token_details": {"text_tokens": made - spoken, "audio_tokens": spoken},
    }


def rate_limits(context: int, used: int) -> ServerEvent:
    """What is left of the context, the one limit that a conversation meets."""
    left = {"name": "tokens", "limit": context, "remaining": max(context - used, 0), "reset_seconds": 0.0}
    return {"type": "rate_limits.updated", "rate_limits": [left]}


def step(response_id: str, number: int, text_id: int, text: str, units: Sequence[int], t_ms: int) -> ServerEvent:
    """One LLM step of a reply; the page asks for these events by `?events=fac`. `t_ms` is of the session's clock."""
    return {
        "type": "fac.step",
        "response_id": response_id,
        "step": number,
        "text_id": text_id,
        "text": text,
        "units": list(units),
        "t_ms": t_ms,
    }


def timing(response_id: str, **ms: int | None) -> ServerEvent:
    """When a reply got how far.

    `speech_stopped`, `first_text`, `first_units` and `first_audio` are times of the session's clock in ms, null for
    what did not happen; `queued` and `prefill` are durations in ms.
    """
    return {"type": "fac.timing", "response_id": response_id, **ms}


def vad(probability: float, ms: int) -> ServerEvent:
    """How likely speech is; `ms` counts all audio of the user."""
    return {"type": "fac.vad", "probability": round(probability, 3), "ms": ms}
