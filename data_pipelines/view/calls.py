"""Calls on the viewer's page: both channels, the slots of the clock with their labels, and the events."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from data_pipelines.records.call import played, system_of, to_call
from data_pipelines.records.record import Message, Record, with_messages
from data_pipelines.records.reject import Rejected
from data_pipelines.view.blocks import Position, speech_token, text_token
from data_pipelines.view.samples import Reader, Sample, stand_ins
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.features import mels, speech_ids
from fac_jax.batching.grid import Example
from fac_jax.duplex.call import SLOT, SLOT_FRAMES, SLOT_SECONDS, Event
from fac_jax.duplex.layout import lay_out, prompt_ids
from fac_jax.evaluation.reports.pages.page import Sound, render_page
from fac_jax.losses.duplex_weights import text_weights
from fac_jax.models.config import replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.types import IGNORE, InputError, Kind

LINE: Final = 20  # slots on a line of a page, 4 s
WEIGHTS: Final = DuplexConfig(sinks=0, loudest_floor=0.0)  # where no model names others


@dataclasses.dataclass(frozen=True)
class Slot:
    """One slot: what the assistant does in it ("idle", "opening", ..), its position, and the weight of its label."""

    state: str
    position: Position
    weight: float


@dataclasses.dataclass(frozen=True)
class Bar:
    """An event on a line: its place and width in per cent of a full line, and words about it."""

    kind: str
    left: float
    width: float
    words: str


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """At most `LINE` slots; the log-mels of both channels, float32 `[slots * 20, bins]`, and the events in them."""

    second: float
    slots: tuple[Slot, ...]
    user: np.ndarray
    assistant: np.ndarray
    bars: tuple[Bar, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class CallBlock:
    """A call on the page."""

    id: str
    note: str
    user: Sound
    assistant: Sound
    lines: tuple[Line, ...]
    loudest: float


def first_calls(rows: Iterable[Record | Rejected], count: int) -> tuple[list[Record], list[Rejected]]:
    """Returns the first calls among checked rows, and the rejected rows before the last of them."""
    calls: list[Record] = []
    refused: list[Rejected] = []
    for row in rows:
        if isinstance(row, Rejected):
            refused.append(row)
        elif row.timing is not None:
            calls.append(row)
        if len(calls) == count:
            break
    return calls, refused


def reader_for(calls: Sequence[Record]) -> Reader:
    """Fits stand-ins for a tokenizer and a codec on the replies of calls."""
    samples = [
        Sample(Conversation(record.id, system_of(record), tuple(map(_turn, record.messages[1:])))) for record in calls
    ]
    return stand_ins(samples)


def _turn(message: Message) -> Turn:
    audio = message.audio
    assert audio is not None
    return Turn("assistant", message.text, audio.wave, audio.tokens)


def call_blocks(calls: Sequence[Record], reader: Reader) -> list[CallBlock]:
    """Lays calls out as training does; where the model takes no part in calls, with the delay that each was made with.

    Raises:
      InputError: training would refuse a row; names it.
    """
    return [_block(_with_tokens(record, reader), _delayed(reader, record)) for record in calls]


def _delayed(reader: Reader, record: Record) -> Reader:
    if reader.grid.duplex is not None or record.timing is None:
        return reader
    return dataclasses.replace(reader, grid=replace(reader.grid, delay_groups=record.timing.delay_groups))


def _with_tokens(record: Record, reader: Reader) -> Record:
    """Returns a call with the codec ids of whole replies."""
    lacking = [
        m.audio.wave for m in record.messages[1:] if m.audio and m.audio.tokens is None and m.audio.wave is not None
    ]
    if lacking and reader.codec is None:
        raise InputError(f"row {record.id}: its replies have no speech tokens, and the model has no codec")
    ids = iter(speech_ids(lacking, reader.codec) if lacking and reader.codec is not None else [])

    def encoded(message: Message) -> Message:
        audio = message.audio
        if message.role == "user" or audio is None or audio.tokens is not None:
            return message
        return dataclasses.replace(message, audio=dataclasses.replace(audio, tokens=next(ids)))

    return with_messages(record, encoded)


def _block(record: Record, reader: Reader) -> CallBlock:
    timing, grid = record.timing, reader.grid
    assert timing is not None
    call = to_call(record, timing, reader.tokenizer, grid)
    assistant = played(record, timing)
    heard, said = mels([call.user, assistant], grid.mel_bins)
    before = len(prompt_ids(call.system, reader.tokenizer))
    example = lay_out(call, (heard,), reader.tokenizer, grid, sinks=before)
    slots = _slots(example, before, reader)
    lines = tuple(
        Line(
            start * SLOT_SECONDS,
            slots[start : start + LINE],
            heard[start * SLOT_FRAMES : (start + LINE) * SLOT_FRAMES],
            said[start * SLOT_FRAMES : (start + LINE) * SLOT_FRAMES],
            tuple(_bars(call.events, start)),
        )
        for start in range(0, call.slots, LINE)
    )
    note = f"{Path(record.file).name}:{record.line}, {call.slots} slots, {len(call.turns)} turns; {call.system}"
    return CallBlock(record.id, note, Sound(call.user), Sound(assistant), lines, float(heard.max()))


def _slots(example: Example, before: int, reader: Reader) -> tuple[Slot, ...]:
    special, config = reader.grid.special, reader.grid.duplex or WEIGHTS
    assert example.beside is not None
    fields = (example.labels[None], example.kind[None], example.beside[None])
    weights = np.asarray(text_weights(*fields, special, config))[0]
    found = []
    for i in range(before, len(example)):
        kind, text_id, labels = example.kind[i], int(example.text_ids[i]), example.speech_labels[i]
        state = "talking" if kind == Kind.JOINT else "idle" if kind == Kind.SPEECH else "opening"
        state = "closing" if state == "opening" and text_id == special.audio_eos else state
        shown = int(example.labels[i]) if state == "idle" else text_id
        speech = tuple(
            speech_token(int(label), True, reader.grid) for label in labels if state != "idle" and label != IGNORE
        )
        position = Position(i - before, text_token(shown, bool(example.labels[i] != IGNORE), reader.tokenizer), speech)
        found.append(Slot(state, position, float(weights[i])))
    return tuple(found)


def _bars(events: Sequence[Event], start: int) -> Iterable[Bar]:
    """Yields the events of the slots of a line, cut to it."""
    first, last = start * SLOT, (start + LINE) * SLOT
    for event in events:
        left, right = max(first, event.onset), min(last, event.end)
        if left < right or (event.onset == event.end and first <= event.onset < last):
            about = [f"{event.kind.replace('_', ' ')} {event.onset / 16_000:.2f} to {event.end / 16_000:.2f} s"]
            about += [f'"{event.text}"'] if event.text else []
            about += [f"turn {event.turn}"] if event.turn is not None else []
            share = 100 / (LINE * SLOT)
            yield Bar(str(event.kind), (left - first) * share, max(0.5, (right - left) * share), ", ".join(about))


def render_calls(title: str, found: Sequence[CallBlock], reader: Reader) -> str:
    """Renders calls as one self-contained HTML page."""
    kinds = sorted({bar.kind for block in found for line in block.lines for bar in line.bars})
    values = {"found": found, "kinds": kinds, "line": LINE, "silent": -1.5}
    return render_page("data_pipelines.view", "calls.html.jinja", title=title, summary=reader.words, **values)
