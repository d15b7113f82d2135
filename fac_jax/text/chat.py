"""The chat template: it turns a conversation into pieces of text ids and slots for audio (docs/model.md, section 8)."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from fac_jax.text.prompts import TOOLS_BLOCK, Role
from fac_jax.text.special_ids import IM_START, TEXT_SPECIALS
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Turn:
    """One message.

    Attributes:
      role: speaker of the message.
      text: a user's text, or the instruction after a user's audio; or the text of a reply, which a spoken reply carries
        in parallel with its speech.
      audio: the caller's index of the message's audio; None for a message without audio.
      lead: a user's text before the user's audio.
      generated: the caller's index of a reply that the model made; None for every other message.
    """

    role: Role
    text: str = ""
    audio: int | None = None
    lead: str = ""
    generated: int | None = None


@dataclasses.dataclass(frozen=True)
class TextPiece:
    """Consecutive text positions.

    Attributes:
      ids: text ids, one for each position.
      loss: whether these positions carry loss; their labels are their ids.
    """

    ids: tuple[int, ...]
    loss: bool


@dataclasses.dataclass(frozen=True)
class AudioPiece:
    """A slot with one position for each group of an audio; bos and eos are in the text pieces around it.

    Attributes:
      audio: index of the audio, from the `Turn`.
      joint: True for a spoken reply with parallel text (Kind.JOINT), False for a user's audio (Kind.SPEECH).
      text_ids: text ids of the reply, not yet filled with silence; empty for a user's audio.
      loss: whether these positions carry loss.
    """

    audio: int
    joint: bool
    text_ids: tuple[int, ...]
    loss: bool


@dataclasses.dataclass(frozen=True)
class GeneratedPiece:
    """A reply that the model made, from its first id to the eos; `generated` is the index from the `Turn`."""

    generated: int


Piece: TypeAlias = TextPiece | AudioPiece | GeneratedPiece


class TextIds(Protocol):
    """The part of a tokenizer that the template needs; `Tokenizer` provides it."""

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without special tokens."""
        ...

    def token_id(self, token: str) -> int:
        """Returns the id of a special token.

        Raises:
          InputError: the tokenizer does not have it.
        """
        ...


def render(system: str, turns: Sequence[Turn], tokenizer: TextIds, add_generation_prompt: bool = False) -> list[Piece]:
    """Writes a conversation in ChatML.

    In every turn of the assistant, the positions from `<|audio_bos|>` or the first text token up to and including
    `<|im_end|>` carry loss. A line break separates turns. A generation prompt is the start of an assistant's turn.

    Args:
      system: system prompt, which sets the mode (`SYSTEM_TEXT`, `SYSTEM_JOINT`); "" for none.

    Returns:
      pieces in order; neighbouring text pieces differ in `loss`.

    Raises:
      InputError: a turn has an unknown role, or neither text nor audio, or the tokenizer lacks a special token.
    """
    start, end, audio_bos, audio_eos = (
        tokenizer.token_id(name)
        for name in (IM_START, *(TEXT_SPECIALS[field] for field in ("eos", "audio_bos", "audio_eos")))
    )
    pieces: list[Piece] = []

    def open_turn(text: str) -> None:
        between = tokenizer.encode("\n") if pieces else []
        write((*between, start, *tokenizer.encode(text)), loss=False)

    def write(ids: Iterable[int], loss: bool) -> None:
        last = pieces[-1] if pieces else None
        if isinstance(last, TextPiece) and last.loss == loss:
            pieces[-1] = TextPiece((*last.ids, *ids), loss)
        else:
            pieces.append(TextPiece(tuple(ids), loss))

    if system:
        open_turn(f"system\n{system}")
        write([end], loss=False)
    for number, turn in enumerate(turns):
        if turn.role not in ("user", "assistant"):
            raise InputError(f"turn {number} has the unknown role {turn.role!r}; known: user, assistant")
        if turn.generated is not None:
            open_turn(f"{turn.role}\n")
            pieces.append(GeneratedPiece(turn.generated))
            continue
        if turn.audio is None and not turn.text:
            raise InputError(f"turn {number} ({turn.role}) has neither text nor audio")
        assistant = turn.role == "assistant"
        if turn.audio is not None:
            open_turn(f"{turn.role}\n{turn.lead}")
            write([audio_bos], assistant)
            parallel = tuple(tokenizer.encode(turn.text)) if assistant else ()
            pieces.append(AudioPiece(turn.audio, joint=assistant, text_ids=parallel, loss=assistant))
            instruction = tokenizer.encode(f"\n{turn.text}") if turn.text and not assistant else []
            write([audio_eos, *instruction, end], assistant)
        elif assistant:
            # Encoded separately from "assistant\n", so that a generation prompt is a prefix of a trained row.
            open_turn("assistant\n")
            write([*tokenizer.encode(turn.text), end], loss=True)
        else:
            open_turn(f"user\n{turn.text}")
            write([end], loss=False)
    if add_generation_prompt:
        open_turn("assistant\n")
    return pieces


def with_tools(system: str, tools: Sequence[Mapping[str, Any]]) -> str:
    """Appends the tools block of Qwen (Hermes) to a system prompt: the function calling of the released model.

    Each of `tools`, JSON objects that describe functions, becomes one line. The prompt is for `render`; the model calls
    a function by a `<tool_call>` block in its reply.
    """
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return system + TOOLS_BLOCK.format(tools=lines)
