"""Turns the messages of a chat completion into a conversation."""

import json
from collections.abc import Mapping, Sequence
from typing import Final

from fac_jax.batching.conversation import Conversation, GeneratedReply, Turn
from fac_jax.serving.config import Limits
from fac_jax.serving.prompting import call_text, output_text, system_prompt
from fac_jax.serving.web.audio_in import decode, too_long
from fac_jax.serving.web.chat_request import Assistant, Audio, ChatRequest, Instructions, Text, ToolOutput, User
from fac_jax.serving.web.errors import ApiError, invalid

_TEXTS: Final = 4  # texts of the full size that all messages may have together


def check(request: ChatRequest, limits: Limits) -> None:
    """Checks the sizes of a request, and what its fields say about each other.

    Raises:
      ApiError: 400.
    """
    if len(request.messages) > limits.items:
        raise invalid(f"There are more than {limits.items} messages.", "messages")
    if request.messages[-1].role not in ("user", "tool"):
        raise invalid("The last message is of a user or a tool; what else is to be answered?", "messages")
    if len(json.dumps(request.offered).encode()) > limits.tools_bytes:
        raise invalid(f"The tools have more than {limits.tools_bytes} bytes.", "tools")
    if request.must_call is not None and not request.offered:
        raise invalid("There is no such tool.", "tool_choice")
    if len(request.stops) > 4 or not all(0 < len(stop) <= 256 for stop in request.stops):
        raise invalid("Give at most 4 texts of 1 to 256 characters.", "stop")


def conversation(
    request: ChatRequest,
    name: str,
    limits: Limits,
    most_s: float,
    kept: Mapping[str, GeneratedReply | None],
) -> Conversation:
    """Returns the conversation of a request; this decodes its audio, and takes time.

    Args:
      request: that passed `check`.
      name: of the conversation.
      limits: of texts and turns.
      most_s: seconds of all audio together.
      kept: the earlier answers that the messages name, by id; None for one that is not kept.

    Raises:
      ApiError: 400, or 404 for an answer that is not kept.
    """
    instructions: list[str] = []
    turns: list[Turn] = []
    left_s = most_s
    after_tool = False
    for number, message in enumerate(request.messages):
        where = f"messages[{number}]"
        if isinstance(message, Instructions):
            instructions.append(_text(message.content, limits, where))
        elif isinstance(message, User):
            made, seconds = _user(message, limits, left_s, where)
            turns += made
            left_s -= seconds
        elif isinstance(message, Assistant):
            turns.append(_assistant(message, limits, where, kept))
        else:
            text = output_text(_text(message.content, limits, where))
            if after_tool:  # the outputs of one reply's calls are one turn
                text = f"{turns.pop().text}\n{text}"
            turns.append(Turn("user", text))
        after_tool = isinstance(message, ToolOutput)
    system = system_prompt("\n".join(instructions), request.spoken, request.offered, request.must_call)
    texts = sum(len(turn.text) + len(turn.lead) for turn in turns)
    if texts > _TEXTS * limits.text_bytes:  # before anybody counts its tokens
        raise invalid("The messages do not fit the context.", "messages", "context_length_exceeded")
    return Conversation(name, system, tuple(turns))


def _user(message: User, limits: Limits, left_s: float, where: str) -> tuple[list[Turn], float]:
    """Returns the turns of a message, one for each audio, or one of text; and the seconds of audio."""
    if isinstance(message.content, str):
        return [Turn("user", _nonempty(_text(message.content, limits, where), where))], 0.0
    turns: list[Turn] = []
    lead: list[str] = []  # texts before the first audio
    seconds = 0.0
    for number, part in enumerate(message.content):
        param = f"{where}.content[{number}]"
        if isinstance(part, Audio):
            most_s = min(limits.turn_s, left_s - seconds)
            if most_s <= 0:
                raise too_long(left_s, param)
            wave = decode(part.input_audio.data, part.input_audio.format, most_s, f"{param}.input_audio")
            seconds += len(wave) / 16_000
            turns.append(Turn("user", wave=wave, lead="" if turns else "\n".join(lead)))
        elif turns:
            last = turns.pop()
            text = f"{last.text}\n{part.text}" if last.text else part.text
            turns.append(Turn("user", text, wave=last.wave, lead=last.lead))
        else:
            lead.append(part.text)
    _text([part for part in message.content if isinstance(part, Text)], limits, where)
    return turns or [Turn("user", _nonempty("\n".join(lead), where))], seconds


def _assistant(message: Assistant, limits: Limits, where: str, kept: Mapping[str, GeneratedReply | None]) -> Turn:
    if message.audio is not None:
        reply = kept[message.audio.id]
        if reply is None:
            text = "This answer is not kept any more; send its transcript as content instead."
            raise ApiError(404, text, "audio_expired", f"{where}.audio.id")
        return Turn("assistant", generated=reply)
    said = _joined(message.content or "")
    calls = [call_text(call.function.name, call.function.arguments) for call in message.tool_calls or ()]
    return Turn("assistant", _nonempty(_text("\n".join(filter(None, [said, *calls])), limits, where), where))


def _joined(content: str | Sequence[Text]) -> str:
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def _text(content: str | Sequence[Text], limits: Limits, where: str) -> str:
    text = _joined(content)
    if len(text.encode()) > limits.text_bytes:
        raise invalid(f"The text has more than {limits.text_bytes} bytes.", f"{where}.content")
    return text


def _nonempty(text: str, where: str) -> str:
    if not text:
        raise invalid("The message is empty.", f"{where}.content")
    return text
