"""The one chat template: a conversation becomes pieces of text ids and audio slots (docs/model.md, section 8)."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT, TOOLS_BLOCK, Role
from fac_jax.text.special_ids import IM_START, TEXT_SPECIALS
from fac_jax.types import InputError

__all__ = [
    "SYSTEM_JOINT",
    "SYSTEM_TEXT",
    "AudioPiece",
    "Piece",
    "Role",
    "TextIds",
    "TextPiece",
    "Turn",
    "render",
    "with_tools",
]


@dataclasses.dataclass(frozen=True)
class Turn:
    """One message.

    Attributes:
      role: who speaks.
      text: a user's words, or the instruction beside a user's audio; a reply's text, which a spoken reply carries in
        parallel with its speech.
      audio: the caller's index of the turn's audio, None for a turn without.
      lead: a user's words before the user's audio.
    """

    role: Role
    text: str = ""
    audio: int | None = None
    lead: str = ""


@dataclasses.dataclass(frozen=True)
class TextPiece:
    """Consecutive text positions.

    Attributes:
      ids: text ids, one a position.
      loss: whether these positions are learnt (their labels are their ids).
    """

    ids: tuple[int, ...]
    loss: bool


@dataclasses.dataclass(frozen=True)
class AudioPiece:
    """A slot of as many positions as the audio has groups; bos and eos stand in the text pieces around it.

    Attributes:
      audio: the turn's audio index.
      joint: a spoken reply, with text beside the speech (Kind.JOINT); else a user's audio (Kind.SPEECH).
      text_ids: the reply's text ids, not yet silence-filled; empty for a user's audio.
      loss: whether these positions are learnt.
    """

    audio: int
    joint: bool
    text_ids: tuple[int, ...]
    loss: bool


Piece: TypeAlias = TextPiece | AudioPiece


class TextIds(Protocol):
    """What the template needs of a tokenizer; `Tokenizer` has it."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text, no special token among them."""
        ...

    def token_id(self, token: str) -> int:
        """Id of a special token. InputError where there is none."""
        ...


def render(system: str, turns: Sequence[Turn], tokenizer: TextIds, add_generation_prompt: bool = False) -> list[Piece]:
    """Lays a conversation out in ChatML.

    Loss lies on what the assistant says, from `<|audio_bos|>` or the first text token up to `<|im_end|>`, inclusive,
    in every turn. A line break stands between turns and not behind the last, where nothing would follow it.

    Args:
      system: system prompt, which names the mode (`SYSTEM_TEXT`, `SYSTEM_JOINT`); "" leaves it out.
      turns: the messages.
      tokenizer: has the template's special tokens.
      add_generation_prompt: end with an opened assistant turn, for generation.

    Returns:
      pieces; no two text pieces with the same loss stand side by side.

    Raises:
      InputError: a role that is not known, a turn without text and audio, or a special token the tokenizer lacks.
    """
    start, end, audio_bos, audio_eos = (
        tokenizer.token_id(name)
        for name in (IM_START, *(TEXT_SPECIALS[field] for field in ("eos", "audio_bos", "audio_eos")))
    )
    pieces: list[Piece] = []

    def open_turn(text: str) -> None:
        between = tokenizer.encode("\n") if pieces else []
        pieces.append(TextPiece((*between, start, *tokenizer.encode(text)), loss=False))

    def write(ids: Iterable[int], loss: bool) -> None:
        pieces.append(TextPiece(tuple(ids), loss))

    if system:
        open_turn(f"system\n{system}")
        write([end], loss=False)
    for number, turn in enumerate(turns):
        if turn.role not in ("user", "assistant"):
            raise InputError(f"turn {number} has the unknown role {turn.role!r}; known: user, assistant")
        if turn.audio is None and not turn.text:
            raise InputError(f"turn {number} ({turn.role}) has neither text nor audio")
        says = turn.role == "assistant"
        if turn.audio is not None:
            open_turn(f"{turn.role}\n{turn.lead}")
            write([audio_bos], says)
            beside = tuple(tokenizer.encode(turn.text)) if says else ()
            pieces.append(AudioPiece(turn.audio, joint=says, text_ids=beside, loss=says))
            instruction = tokenizer.encode(f"\n{turn.text}") if turn.text and not says else []
            write([audio_eos, *instruction, end], says)
        elif says:
            # Encoded apart from "assistant\n", so that a generation prompt is a prefix of what was trained.
            open_turn("assistant\n")
            write([*tokenizer.encode(turn.text), end], loss=True)
        else:
            open_turn(f"user\n{turn.text}")
            write([end], loss=False)
    if add_generation_prompt:
        open_turn("assistant\n")
    return _merge(pieces)


def with_tools(system: str, tools: Sequence[Mapping[str, Any]]) -> str:
    """A system prompt with the Qwen/Hermes tools block: one JSON a line; answers come as `<tool_call>` blocks."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return system + TOOLS_BLOCK.format(tools=lines)


def _merge(pieces: Sequence[Piece]) -> list[Piece]:
    merged: list[Piece] = []
    for piece in pieces:
        last = merged[-1] if merged else None
        if isinstance(piece, TextPiece) and isinstance(last, TextPiece) and last.loss == piece.loss:
            merged[-1] = TextPiece(last.ids + piece.ids, piece.loss)
        else:
            merged.append(piece)
    return merged
