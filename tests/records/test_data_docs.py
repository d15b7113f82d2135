"""docs/data.md: its examples can be imported, and its tables are complete."""

import re
from pathlib import Path

import pytest

from data_pipelines.importers.registry import FORMATS, guess, read
from data_pipelines.records.record import SCHEMA_VERSION, Record
from data_pipelines.records.reject import Reason

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `([\w-]+)`\n(.*?)(?=^##|\Z)", TEXT, re.DOTALL | re.MULTILINE))
EXAMPLES = {name: re.findall(r"^    (.+)$", text, re.MULTILINE) for name, text in SECTIONS.items()}


@pytest.mark.parametrize("name", [name for name, lines in EXAMPLES.items() if lines])
def test_examples_are_rows_of_their_format(name: str, tmp_path: Path) -> None:
    file = tmp_path / ("rows.csv" if name == "manifest-csv" else "rows.jsonl")
    file.write_text("".join(f"{line}\n" for line in EXAMPLES[name]), encoding="utf-8")
    assert guess(file) == name
    found = list(read(file))
    assert found and all(isinstance(row, Record) for row in found), found


def test_every_format_and_reason_is_documented() -> None:
    assert set(SECTIONS) == set(FORMATS)
    assert {reason.value for reason in Reason} <= set(re.findall(r"`(\w+)`", TEXT))
    assert f"version {SCHEMA_VERSION}" in TEXT
