"""Rows changed at random: every one becomes a record or a reason, and what is exported is what was read."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from user_rows import PLACEHOLDER, heard, release_row, save, spoken, write_jsonl

from data_pipelines.importers import release
from data_pipelines.importers.registry import read
from data_pipelines.records.record import Record, to_example
from data_pipelines.records.reject import Rejected, entry
from data_pipelines.records.validate import Limits, validate

ROWS = 400
JUNK: list[Any] = [
    *(None, True, -1, 3.5, float("nan"), 10**30, "", " ", "\ud800", "a\0.wav", "x" * 300, [], {}, [[]], {"a": 1}),
    *("<|audio_bos|>", "<|AUDIO|>", PLACEHOLDER, "<audio>", "[AU0001]", "{}", "null", "..", "/dev/null", "user", "gpt"),
]
TURNS = [{"from": "human", "value": "<audio>x"}, {"from": "gpt", "value": "y"}]
SAID = {"role": "assistant", "content": PLACEHOLDER}
SEEDS: dict[str, dict[str, Any]] = {
    "release": release_row(
        f"{PLACEHOLDER}\nhi", PLACEHOLDER, audio=[heard("a.wav", 1.0), spoken("yes", range(24), "a.wav")]
    ),
    "preference": {
        **release_row(PLACEHOLDER, audio=[heard("a.wav", 1.0)]),
        **{"chosen": SAID, "chosen_audio": [spoken("yes", [1])], "task": "empathy"},
        **{"rejected": SAID, "rejected_audio": spoken("no", [2])},
    },
    "llama-factory": {"conversations": TURNS[:1], "audios": ["a.wav"], "chosen": TURNS[1], "rejected": "b"},
    "trl": {
        "prompt": [{"role": "user", "content": "x"}],
        "chosen": [{"role": "assistant", "content": "y"}],
        "rejected": "z",
    },
    "manifest-jsonl": {"audio": "a.wav", "text": "x", "sampling_rate": 16_000},
}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container in a value with a key of it."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def mutated(row: dict[str, Any], rng: random.Random) -> bytes:
    row = copy.deepcopy(row)
    for _ in range(rng.randint(0, 2)):
        holder, key = rng.choice(list(places(row)) or [(row, "new")])
        value = holder.get(key) if isinstance(holder, dict) else holder[key]
        if isinstance(value, str) and value.startswith("{") and len(value) > 9 and rng.random() < 0.7:
            inner = json.loads(value)
            inner[rng.choice(list(inner))] = rng.choice(JUNK)
            holder[key] = json.dumps(inner)
        elif rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = copy.deepcopy(rng.choice(JUNK))
        if not row:
            break
    line = bytearray(json.dumps(row).encode())
    if rng.random() < 0.1:
        line[rng.randrange(len(line))] = rng.choice([0, 34, 44, 92, 125, 200, 255])
    return bytes(line)


@pytest.mark.parametrize("format", SEEDS)
def test_mutated_rows_never_stop_a_file(format: str, tmp_path: Path) -> None:
    rng = random.Random(format)
    save(tmp_path / "a.wav", 1.0)
    lines = [mutated(SEEDS[format], rng) for _ in range(ROWS)]
    imported = list(read(write_jsonl(tmp_path / "rows.jsonl", lines), format))
    assert [row.line for row in imported] == list(range(1, ROWS + 1))
    for row in imported:
        if isinstance(row, Record) and format in ("release", "preference"):
            ours = json.dumps(release.export(row), sort_keys=True)
            assert ours == json.dumps(json.loads(lines[row.line - 1]), sort_keys=True)
    good = 0
    for row in validate(imported, Limits()):
        if isinstance(row, Rejected):
            json.dumps(entry(row), ensure_ascii=False).encode()
        else:
            good += 1
            to_example(row)
    assert ROWS / 4 < good < ROWS
