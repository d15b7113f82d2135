"""Files of JSON lines that a killed run leaves."""

from pathlib import Path

import pytest

from fac_jax.evaluation.appended import AppendedLines, read_lines
from fac_jax.types import InputError


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b'{"a": 1}\n{"a": 2', [{"a": 1}]),  # killed in a line
        (b'{"a": 1}\n{"a": 2}', [{"a": 1}, {"a": 2}]),  # an editor that ends no last line
        ('{"a": "é'.encode()[:-1], []),  # killed in a character
        (b"", []),
    ],
)
def test_a_file_goes_on_after_its_last_whole_line(tmp_path: Path, left: bytes, kept: list[dict[str, int]]) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(left)
    assert read_lines(path) == kept
    for number in (3, 4):
        lines = AppendedLines(path)
        lines.append({"a": number, "text": "one\u2028line"})
        lines.close()
    assert [row["a"] for row in read_lines(path)] == [*(row["a"] for row in kept), 3, 4]


def test_a_broken_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"a": 1}\n[2]\n{"a": 3}\n')
    with pytest.raises(InputError, match="line 2: not a JSON object"):
        AppendedLines(path)
