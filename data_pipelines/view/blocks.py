"""The page of the viewer: a `Batch` as blocks, stretches of text, user audio and spoken replies of conversations."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from data_pipelines.view.samples import Reader, Sample
from fac_jax.audio.mel import HOP, RATE
from fac_jax.batching.collate import collate, least_shapes
from fac_jax.batching.conversation import Turn
from fac_jax.batching.features import add_features, mels
from fac_jax.batching.grid import ModelGrid, encode
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.evaluation.reports.pages.page import Sound, render_page
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import IGNORE, NO_FRAME, Batch, Kind

FRAMES: Final = RATE // HOP // TOKEN_RATE  # mel frames of a speech token
LINE: Final = 10  # groups on a line of a page: 2 s of the release's grid
SPECIAL: Final = re.compile(r"<\|(.+)\|>")
SEEN: Final = str.maketrans({" ": "\u00a0", "\n": "\u21b5"})  # a space that is kept, an arrow
SOFTEST: Final = -1.5  # least value of a log-mel
SILENT: Final = -9.0  # log-mel value of frames without audio


@dataclasses.dataclass(frozen=True)
class Token:
    """One id of a stream; its name is "" for speech padding, and it is special if neither text nor a codec id."""

    name: str
    id: int
    learned: bool
    special: bool


@dataclasses.dataclass(frozen=True)
class Position:
    """One LLM position: its number in the conversation, text, and speech ids; in text only those with labels."""

    number: int
    text: Token
    speech: tuple[Token, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """At most `LINE` groups, next to each other.

    Attributes:
      positions: the groups.
      mel: log-mel float32 `[groups * G * 4, 128]` of the same time; `SILENT` where there is no audio.
      second: start of the line in seconds of the audio; negative in the delay of a reply.
    """

    positions: tuple[Position, ...]
    mel: np.ndarray
    second: float


@dataclasses.dataclass(frozen=True, eq=False)
class Stretch:
    """Consecutive positions of one kind.

    Attributes:
      kind: "text", "heard" or "said".
      positions: LLM positions of a stretch of text.
      lines: lines of a stretch of audio.
      sound: the player's wave; None for text and for speech without a wave.
      loudest: greatest value of the log-mel.
    """

    kind: str
    positions: tuple[Position, ...] = ()
    lines: tuple[Line, ...] = ()
    sound: Sound | None = None
    loudest: float = 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """One conversation, with totals; `said` counts the speech tokens of its replies without padding."""

    id: str
    note: str
    stretches: tuple[Stretch, ...]
    positions: int
    text_labels: int
    said: int
    speech_labels: int
    heard_seconds: float
    said_seconds: float


def blocks(batch: Batch, samples: Sequence[Sample], reader: Reader) -> list[Block]:
    """Splits a batch into its conversations, row by row, segment by segment; `samples` are these in this order."""
    segments = np.asarray(batch.segment_ids)
    places = [(row, segment) for row in range(len(segments)) for segment in range(1, segments[row].max() + 1)]
    return [
        _block(batch, row, np.flatnonzero(segments[row] == segment), sample, reader)
        for (row, segment), sample in zip(places, samples, strict=True)
    ]


def _block(batch: Batch, row: int, where: np.ndarray, sample: Sample, reader: Reader) -> Block:
    turns = [t for t in sample.conversation.turns if t.wave is not None or t.speech is not None or t.silent]
    positions = list(_positions(batch, row, where, reader))
    kinds = batch.kind[row, where]
    stretches, audios = [], iter(turns)
    for kind, run in itertools.groupby(range(len(where)), lambda i: kinds[i]):
        numbers = list(run)
        found = tuple(positions[i] for i in numbers)
        if kind == Kind.TEXT:
            stretches.append(Stretch("text", found))
        else:
            stretches.append(_audio(batch, row, where[numbers], found, next(audios), reader.grid))
    joint = batch.speech_ids[row, where][kinds == Kind.JOINT]
    return Block(
        id=sample.conversation.id,
        note=sample.note,
        stretches=tuple(stretches),
        positions=len(where),
        text_labels=int((batch.labels[row, where] != IGNORE).sum()),
        said=int((joint < reader.grid.units).sum()),
        speech_labels=int((batch.speech_labels[row, where] != IGNORE).sum()),
        heard_seconds=sum(len(t.wave) / RATE for t in turns if t.role == "user" and t.wave is not None),
        said_seconds=sum(len(t.wave) / RATE for t in turns if t.role == "assistant" and t.wave is not None),
    )


def _positions(batch: Batch, row: int, where: np.ndarray, reader: Reader) -> Iterator[Position]:
    for i in where:
        text = text_token(int(batch.text_ids[row, i]), bool(batch.labels[row, i] != IGNORE), reader.tokenizer)
        ids, labels = batch.speech_ids[row, i], batch.speech_labels[row, i]
        speech = tuple(
            speech_token(int(label if label != IGNORE else unit), bool(label != IGNORE), reader.grid)
            for unit, label in zip(ids, labels, strict=True)
        )
        is_text = batch.kind[row, i] == Kind.TEXT
        yield Position(int(batch.positions[row, i]), text, tuple(t for t in speech if t.learned or not is_text))


def text_token(token: int, learned: bool, tokenizer: Tokenizer) -> Token:
    """An id of the text stream. Special tokens are named without their bars; spaces and line breaks become visible."""
    words = tokenizer.spell(token)
    special = SPECIAL.fullmatch(words)
    return Token(special[1] if special else words.translate(SEEN), token, learned, special is not None)


def speech_token(token: int, learned: bool, grid: ModelGrid) -> Token:
    """An id of the speech stream; special ids are named."""
    special = grid.special
    names = {special.speech_bos: "bos", special.speech_eos: "eos", special.speech_pad: "pad" if learned else ""}
    return Token(names.get(token, str(token)), token, learned, token in names)


def _audio(
    batch: Batch, row: int, where: np.ndarray, positions: tuple[Position, ...], turn: Turn, grid: ModelGrid
) -> Stretch:
    heard = turn.role == "user"
    delay = 0 if heard else grid.delay_groups * grid.group_size
    frames = np.asarray(batch.frame_index[row, where])
    by_ids = (frames == NO_FRAME).all()  # the batch may have no window at all
    mel = _wave_mel(turn, delay, len(where), grid) if by_ids else _heard_mel(batch, frames)
    width = grid.group_size * FRAMES
    lines = tuple(
        Line(
            positions[start : start + LINE],
            mel[start * width : (start + LINE) * width],
            (start * grid.group_size - delay) / TOKEN_RATE,
        )
        for start in range(0, len(positions), LINE)
    )
    sound = None if turn.wave is None else Sound(turn.wave)
    return Stretch("heard" if heard else "said", (), lines, sound, max(float(mel.max()), SOFTEST))


def _heard_mel(batch: Batch, frames: np.ndarray) -> np.ndarray:
    """The mel frames `[groups * G * 4, 128]` that a gather map `[groups, G]` selects from the encoder's windows."""
    per_window = batch.mel_windows.shape[1] // FRAMES
    flat = frames.reshape(-1)
    windows, slots = np.divmod(np.maximum(flat, 0), per_window)
    steps = slots[:, None] * FRAMES + np.arange(FRAMES)
    inside = (flat[:, None] != NO_FRAME) & (steps < batch.mel_lengths[windows][:, None])
    return np.where(inside[..., None], batch.mel_windows[windows[:, None], steps], SILENT).reshape(
        -1, batch.mel_windows.shape[-1]
    )


def _wave_mel(turn: Turn, delay: int, groups: int, grid: ModelGrid) -> np.ndarray:
    """The log-mel of speech that is represented by ids, after its delay, `[groups * G * 4, 128]`; only for display."""
    out = np.full((groups * grid.group_size * FRAMES, grid.mel_bins), SILENT, np.float32)
    if turn.wave is not None:
        room = out[delay * FRAMES :]
        mel = mels([turn.wave], grid.mel_bins)[0][: len(room)]
        room[: len(mel)] = mel
    return out


def laid_out(samples: Sequence[Sample], reader: Reader) -> list[Block]:
    """Passes samples through features, grid and collation as in training, and splits the batch into blocks.

    Raises:
      InputError: training would refuse a row; names it.
    """
    found = [sample.conversation for sample in samples]
    filled = add_features(found, reader.codec, reader.grid)
    samples = [dataclasses.replace(s, conversation=c) for s, c in zip(samples, filled, strict=True)]
    examples = [encode(conversation, reader.tokenizer, reader.grid) for conversation in filled]
    seq_len, windows = least_shapes(examples, reader.grid)
    batch = collate(examples, len(examples), seq_len, windows, reader.grid)
    return blocks(batch, samples, reader)


def totals(found: Sequence[Block]) -> dict[str, str]:
    """Totals of the rows, by the names that the page and the command print."""
    said, speech_labels = sum(b.said for b in found), sum(b.speech_labels for b in found)
    positions, text = sum(b.positions for b in found), sum(b.text_labels for b in found)
    heard_seconds, said_seconds = sum(b.heard_seconds for b in found), sum(b.said_seconds for b in found)
    return {
        "rows": f"{len(found)}",
        "audio": f"{heard_seconds:.1f} s heard, {said_seconds:.1f} s said",
        "positions": f"{positions} of the LLM, {text} with a text label",
        "speech": f"{said} tokens said, {speech_labels} speech labels",
    }


def render(title: str, found: Sequence[Block], reader: Reader) -> str:
    """Renders blocks as one self-contained HTML page."""
    group = reader.grid.group_size
    rates = {"fine": TOKEN_RATE, "coarse": TOKEN_RATE / group, "group": group, "line": LINE}
    values = {"found": found, "totals": totals(found), **rates}
    return render_page("data_pipelines.view", "view.html.jinja", title=title, summary=reader.words, **values)
