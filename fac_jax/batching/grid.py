"""Lays one conversation out on the 5 Hz LLM grid, in numpy, without padding and without a batch dimension.

The layout is that of docs/model.md, sections 1, 4, 7 and 8.
"""

import dataclasses
from collections.abc import Sequence, Sized
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int32

from fac_jax.batching.conversation import Conversation, StoredFeatures, Turn
from fac_jax.batching.features import Hearing, as_heard, mels, speech_tokens
from fac_jax.batching.generated import fill
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.text import chat
from fac_jax.text.chat import AudioPiece, GeneratedPiece, Piece, TextIds, TextPiece
from fac_jax.text.special_ids import SpecialIds
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import IGNORE, NO_FRAME, InputError, Kind


class ModelGrid(Hearing, Protocol):
    """The properties of a model that the grid depends on; `ModelConfig` provides them.

    Attributes:
      group_size: G, the number of speech tokens of an LLM position.
      delay_groups: number of groups of speech bos before a spoken reply.
      vocab_size: number of text ids.
      units: number of codec ids; special speech ids start there.
      special: special ids of text and speech.
      n_window: half the number of mel frames of an encoder window.
      duplex: None for a model that takes no part in calls; every batch of the others has `beside`.
      blocks: whether the encoder hears calls block by block; every batch has `mel_blocks` then.
    """

    @property
    def group_size(self) -> int: ...
    @property
    def delay_groups(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def special(self) -> SpecialIds: ...
    @property
    def n_window(self) -> int: ...
    @property
    def duplex(self) -> object | None: ...
    @property
    def blocks(self) -> bool: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """The fields of `fac_jax.types.Batch`, described there, for one conversation, S positions long.

    Attributes:
      id: names the row.
      frame_index: index into the encoder frames of the example's own windows, or NO_FRAME.
      mels: log-mel float32 of the user's audios, each of which fills windows of its own, or their stored features.
      audio_seconds: seconds heard and spoken.
      beside: of a call; None for a conversation, which has it nowhere.
      moments: of a call; None for a conversation.
      positions: of a call; None counts them from 0.
      blocks: whether the encoder hears the audios block by block.
    """

    id: str
    text_ids: Int32[np.ndarray, " S"]
    kind: Int32[np.ndarray, " S"]
    speech_ids: Int32[np.ndarray, "S G"]
    has_waveform: Bool[np.ndarray, " S"]
    frame_index: Int32[np.ndarray, "S G"]
    labels: Int32[np.ndarray, " S"]
    speech_labels: Int32[np.ndarray, "S G"]
    mels: tuple[Float[np.ndarray, "_M bins"] | StoredFeatures, ...]
    audio_seconds: float
    beside: Bool[np.ndarray, " S"] | None = None
    moments: Int32[np.ndarray, " S"] | None = None
    positions: Int32[np.ndarray, " S"] | None = None
    blocks: bool = False

    def __len__(self) -> int:
        """Returns the number of LLM positions."""
        return len(self.text_ids)


def windows_of(mel: Sized, n_window: int) -> int:
    """Returns the number of encoder windows (2 * n_window mel frames) of a log-mel, whose length is its frames."""
    return -(-len(mel) // (2 * n_window))


def encode(
    conversation: Conversation,
    tokenizer: Tokenizer,
    model: ModelGrid,
    add_generation_prompt: bool = False,
) -> Example:
    """Lays a conversation out on the grid.

    A missing log-mel is computed; for many conversations `add_features` is faster.

    Args:
      conversation: a user's turn with audio has a wave, speech ids, or both; an assistant's has speech ids, and so has
        a user's where these are all that the model hears (`user_audio`).
      tokenizer: tokenizer of the model.
      add_generation_prompt: whether to end with the start of an assistant's turn.

    Raises:
      InputError: names the row and an audio shorter than one token, one without the speech ids that are needed, or an
        id outside the codebook or the vocabulary.
    """
    turns = [_as_heard(conversation.id, turn, model) for turn in conversation.turns]
    pieces = _render(conversation, tokenizer, add_generation_prompt)
    return lay_out(conversation.id, pieces, turns, model)


def positions(conversation: Conversation, tokenizer: TextIds, group_size: int, delay_groups: int) -> int:
    """Returns the number of LLM positions that `encode` gives a conversation, without its features.

    Args:
      conversation: spoken turns have a wave or speech ids; an assistant's wave counts as `int(25 * seconds)` ids.
      tokenizer: tokenizer of the model, or one that estimates the number of ids.
      delay_groups: groups of speech bos before a spoken reply.

    Raises:
      InputError: an audio is shorter than one token; names the row.
    """
    length = 0
    for piece in _render(conversation, tokenizer, add_generation_prompt=False):
        if isinstance(piece, TextPiece):
            length += len(piece.ids)
        elif isinstance(piece, GeneratedPiece):
            reply = conversation.turns[piece.generated].generated
            assert reply is not None
            length += len(reply.text_ids)
        else:
            groups = -(-speech_tokens(conversation.id, conversation.turns[piece.audio]) // group_size)
            length += max(groups + delay_groups * piece.joint, len(piece.text_ids))
    return length


def _render(conversation: Conversation, tokenizer: TextIds, add_generation_prompt: bool) -> list[Piece]:
    """Renders a conversation; the audio index of a piece is that of its turn."""
    turns = [
        chat.Turn(t.role, generated=i)
        if t.generated is not None
        else chat.Turn(t.role, t.text, None if t.wave is None and t.speech is None and not t.silent else i, t.lead)
        for i, t in enumerate(conversation.turns)
    ]
    return chat.render(conversation.system, turns, tokenizer, add_generation_prompt)


def lay_out(row: str, pieces: Sequence[Piece], turns: Sequence[Turn], model: ModelGrid) -> Example:
    """Lays the pieces of a rendered conversation out on the grid; the indices of pieces are those of `turns`.

    Raises:
      InputError: see `encode`.
    """
    parts: list[dict[str, np.ndarray]] = []
    heard: list[np.ndarray | StoredFeatures] = []
    seconds, windows = 0.0, 0
    ended: Turn | None = None  # the spoken reply right before a piece
    for piece in pieces:
        if isinstance(piece, TextPiece):
            parts.append(_text(piece, model, ended))
            ended = None
            continue
        if isinstance(piece, GeneratedPiece):
            reply = turns[piece.generated].generated
            assert reply is not None
            parts.append(_blank(len(reply.text_ids), Kind.TEXT, model))
            fill(parts[-1], reply, model.special)
            seconds += np.count_nonzero(reply.groups < model.units) / TOKEN_RATE
            continue
        turn = turns[piece.audio]
        if piece.joint:
            parts.append(_joint(row, piece, turn, model))
            ended = turn if piece.loss else None
        else:
            parts.append(_heard(row, turn, model, windows))
            if turn.mel is not None:
                heard.append(turn.mel)
                windows += windows_of(turn.mel, model.n_window)
        seconds += speech_tokens(row, turn) / TOKEN_RATE
    fields: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    largest = fields["text_ids"].max()
    if largest >= model.vocab_size:
        raise InputError(f"row {row}: text id {largest} is outside the model's vocabulary of {model.vocab_size}")
    return Example(id=row, **fields, mels=tuple(heard), audio_seconds=seconds)


def _as_heard(row: str, turn: Turn, model: ModelGrid) -> Turn:
    """Returns a turn with the features that the model hears of a user's audio."""
    if turn.role != "user" or turn.wave is None:
        return turn
    if model.user_audio == "waveform":
        if turn.mel is not None:
            return turn
        turn = as_heard(turn, model)
        assert turn.wave is not None
        return dataclasses.replace(turn, mel=mels([turn.wave], model.mel_bins)[0])
    if turn.speech is None:
        raise InputError(
            f'row {row}: the user\'s audio has no speech ids, all that a model with user_audio "tokens" hears; encode '
            "it with a codec (add_features)"
        )
    return dataclasses.replace(turn, mel=None)


def _blank(length: int, kind: Kind, model: ModelGrid) -> dict[str, np.ndarray]:
    """Returns the fields of positions without audio and without loss."""
    grid = (length, model.group_size)
    return {
        "text_ids": np.zeros(length, np.int32),
        "kind": np.full(length, kind, np.int32),
        "speech_ids": np.full(grid, model.special.speech_pad, np.int32),
        "has_waveform": np.zeros(length, bool),
        "frame_index": np.full(grid, NO_FRAME, np.int32),
        "labels": np.full(length, IGNORE, np.int32),
        "speech_labels": np.full(grid, IGNORE, np.int32),
    }


def _text(piece: TextPiece, model: ModelGrid, ended: Turn | None) -> dict[str, np.ndarray]:
    """Returns text positions; if they end speech, the one with the label audio_eos gets the speech label eos."""
    fields = _blank(len(piece.ids), Kind.TEXT, model)
    fields["text_ids"][:] = piece.ids
    # When a silent reply is over is not to be learnt: a spoken one goes on behind its text.
    if piece.loss and (ended is None or ended.learns == "both"):
        fields["labels"][:] = piece.ids
    if ended is not None and ended.learns != "text":
        fields["speech_labels"][piece.ids.index(model.special.audio_eos)] = model.special.speech_eos
    return fields


def _heard(row: str, turn: Turn, model: ModelGrid, windows: int) -> dict[str, np.ndarray]:
    """Returns the positions of a user's audio; its first window has the index `windows` in the example."""
    tokens = speech_tokens(row, turn)
    fields = _blank(-(-tokens // model.group_size), Kind.SPEECH, model)
    fields["text_ids"][:] = model.special.audio
    if turn.speech is not None:
        fields["speech_ids"].reshape(-1)[:tokens] = _units(row, turn, model)
    if turn.mel is not None:
        frames = windows * (model.n_window // 2) + _encoder_frames(len(turn.mel), model.n_window)
        flat = fields["frame_index"].reshape(-1)
        fitting = min(len(flat), len(frames))
        flat[:fitting] = frames[:fitting]
        fields["has_waveform"][:] = True
    return fields


def _joint(row: str, piece: AudioPiece, turn: Turn, model: ModelGrid) -> dict[str, np.ndarray]:
    """Returns the positions of a spoken reply with its text in parallel.

    A text longer than its speech gets more positions: whole groups of speech pad, which the head learns to produce.
    They never reach a decoder, and no speech eos cuts the text.
    """
    delay = model.delay_groups * model.group_size
    if turn.speech is None and not turn.silent:
        raise InputError(f"row {row}: the assistant's audio has no speech ids; encode it with a codec (add_features)")
    tokens = delay + speech_tokens(row, turn)
    groups = -(-tokens // model.group_size)
    fields = _blank(max(groups, len(piece.text_ids)), Kind.JOINT, model)
    speech = fields["speech_ids"].reshape(-1)
    speech[:delay] = model.special.speech_bos
    if not turn.silent:
        speech[delay:tokens] = _units(row, turn, model)
    fields["text_ids"][:] = model.special.sil
    fields["text_ids"][: len(piece.text_ids)] = piece.text_ids
    if piece.loss and turn.learns == "text":
        fields["labels"][: len(piece.text_ids)] = piece.text_ids
    elif piece.loss:
        if turn.learns == "both":
            fields["labels"][:] = fields["text_ids"]
        fields["speech_labels"][:] = fields["speech_ids"]
        fields["speech_labels"].reshape(-1)[tokens : groups * model.group_size] = IGNORE
    return fields


def _units(row: str, turn: Turn, model: ModelGrid) -> np.ndarray:
    ids = np.asarray(turn.speech)
    outside = ids[(ids < 0) | (ids >= model.units)]
    if outside.size:
        raise InputError(f"row {row}: speech id {outside[0]} is outside the codec's {model.units} units")
    return ids


def _encoder_frames(mel_frames: int, n_window: int) -> np.ndarray:
    """Returns the indices of an audio's 25 Hz frames in the frames of its windows, `[w * n // 2]` (section 2)."""
    starts = np.arange(0, mel_frames, 2 * n_window)
    lengths = np.minimum(mel_frames - starts, 2 * n_window)
    pooled = np.maximum(1, ((lengths - 1) // 2 + 1 - 2) // 2 + 1)
    slots = np.arange(n_window // 2)
    index = np.arange(len(starts))[:, None] * (n_window // 2) + slots
    return index[slots < pooled[:, None]].astype(np.int32)
