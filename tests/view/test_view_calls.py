"""Calls on the viewer's page: both channels, slots, events and loss masks are those of training."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from html_page import Page
from launchers import called
from spoken_dialogues import EXTRAS, exchange

from data_pipelines.duplex.dialogue import Dialogue
from data_pipelines.duplex.events import EventsConfig, Interruption, Quiet
from data_pipelines.duplex.folder import write_calls
from data_pipelines.duplex.make import CallsConfig
from data_pipelines.importers.registry import read
from data_pipelines.records.record import Record
from data_pipelines.records.validate import Limits, validate
from data_pipelines.view.calls import LINE, WEIGHTS, call_blocks, first_calls, reader_for
from fac_jax.duplex.call import SLOT, SLOT_FRAMES
from fac_jax.models.config import replace
from fac_jax.types import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    config = CallsConfig(slots=(44, 50), events=EventsConfig(interruption=Interruption(1.0), quiet=Quiet(0.0)))
    exchanges = (exchange(answered=3.0), exchange(answered=1.2))
    write_calls(folder, [Dialogue(name, exchanges, extras=EXTRAS) for name in ("a<b", "c")], 2, config, "flac", 1)
    return folder


def calls_of(folder: Path) -> list[Record]:
    found, refused = first_calls(validate(read(folder), Limits()), 5)
    assert not refused
    return found


def test_blocks_show_the_slots_of_the_row(folder: Path) -> None:
    records = calls_of(folder)
    reader = reader_for(records)
    for record, block in zip(records, call_blocks(records, reader), strict=True):
        timing = record.timing
        assert timing is not None
        slots = [slot for line in block.lines for slot in line.slots]
        assert len(slots) == timing.slots and max(len(line.slots) for line in block.lines) == LINE
        states = ["idle"] * timing.slots
        for turn in timing.turns:
            states[turn.opening + 1 : turn.closing] = ["talking"] * (turn.closing - turn.opening - 1)
            states[turn.opening], states[turn.closing] = "opening", "closing"
        assert [slot.state for slot in slots] == states
        assert all(slot.position.text.learned for slot in slots)
        weights = {"idle": 0.3, "opening": 5.0, "closing": 5.0, "talking": 1.0}
        np.testing.assert_allclose([slot.weight for slot in slots], [weights[state] for state in states], rtol=1e-6)
        spoken = [len(slot.position.speech) for slot in slots]
        assert spoken == [5 if state in ("talking", "closing") else 0 for state in states]
        assert len(block.user.wave) == len(block.assistant.wave) == timing.slots * SLOT
        assert sum(len(line.user) for line in block.lines) == timing.slots * SLOT_FRAMES


def test_events_lie_where_they_happen(folder: Path) -> None:
    (record, _), *_ = [calls_of(folder)]
    (block,) = call_blocks([record], reader_for([record]))
    assert record.timing is not None
    full = LINE * SLOT
    for event in record.timing.events:
        bars = [(i, bar) for i, line in enumerate(block.lines) for bar in line.bars if bar.kind == event.kind]
        starts = [i * full + bar.left / 100 * full for i, bar in bars]
        assert min(abs(start - event.onset) for start in starts) < 1


def test_calls_of_another_delay_are_shown_by_a_model_that_takes_no_part_in_calls(tmp_path: Path) -> None:
    config = CallsConfig(slots=(44, 50), delay_groups=1, events=EventsConfig(quiet=Quiet(0.0)))
    write_calls(tmp_path, [Dialogue("a", (exchange(answered=3.0),))], 1, config, "flac", 1)
    records = calls_of(tmp_path)
    (block,) = call_blocks(records, reader_for(records))
    states = [slot.state for line in block.lines for slot in line.slots]
    assert states.count("opening") == states.count("closing") == 1


def test_the_command_writes_a_page_with_players(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "page.html"
    called("data_pipelines.view.__main__", str(folder), f"--out={out}", "--rows=1")
    page = Page(out.read_text())
    assert not page.open and len(page.all("audio")) == 2
    assert all(str(player["src"]).startswith("data:audio/flac") for player in page.all("audio"))
    assert "a<b" in "".join(page.text) and str(out) in capsys.readouterr().out


def test_a_row_that_training_refuses_is_named(folder: Path) -> None:
    record = calls_of(folder)[0]
    assert record.timing is not None
    bad = dataclasses.replace(record, timing=dataclasses.replace(record.timing, delay_groups=1))
    reader = reader_for([record])
    trained = dataclasses.replace(reader, grid=replace(reader.grid, duplex=WEIGHTS))  # for calls, with another delay
    with pytest.raises(InputError, match="row a<b: turn 0 has"):
        call_blocks([bad], trained)
