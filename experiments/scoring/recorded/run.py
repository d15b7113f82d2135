"""Scores recorded folders anew and compares every field with what the official code answered.

tests/golden/evaluation/README.md describes the folders.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from experiments.scoring.recorded.base import Context, Recorded, Row
from experiments.scoring.recorded.table import SCORERS
from fac_jax.types import InputError

SHOWN: Final = 5  # differences that are reported of a scorer
TOTALS: Final = "totals"  # id of a difference that is of no single case
# Keys of totals.json that say how the folder was made.
MADE: Final = frozenset({"scorer", "cases", "cases_file", "note", "conditions", "package", "sentence_splitter"})
RAISES: Final = ("raises", "official_raises")
NAMED: Final = (*RAISES, "undetermined")  # any two values of these fields that are not null are equal
ABSENT: Final = "(absent)"


@dataclasses.dataclass(frozen=True)
class Difference:
    """A compared value that is not equal; `id` is that of the case, or "totals"."""

    id: str | int
    field: str
    expected: Any
    got: Any


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How one recorded folder compares: the number of its cases, those that are equal, and all differences."""

    cases: int
    equal: int
    differences: tuple[Difference, ...]

    def summary(self) -> dict[str, Any]:
        """Returns the object that `experiments.score --json` prints for a folder."""
        shown = [dataclasses.asdict(one) for one in self.differences[:SHOWN]]
        return {"cases": self.cases, "equal": self.equal, "first_differences": shown}


def folders(root: Path) -> list[Path]:
    """Returns the recorded folders: the folder itself, or those in it.

    Raises:
      InputError: there is none.
    """
    if (root / "totals.json").is_file():
        return [root]
    found = sorted(path.parent for path in root.glob("*/totals.json"))
    if not found:
        raise InputError(f"{root}: holds no recorded scorer: {root / 'totals.json'} not found, nor in a folder of it")
    return found


def compare(folder: Path, assets: Path | None) -> Comparison:
    """Scores the cases of one recorded folder anew, and compares them.

    Args:
      folder: a folder with `cases.jsonl`, `expected.jsonl` and `totals.json`.
      assets: folder of the assets of others, such as phrases.json; None if there is none.

    Raises:
      InputError: the scorer is unknown, a file is missing or damaged, or an asset that the scorer needs is missing.
    """
    totals = _object(folder / "totals.json")
    scorer = SCORERS.get(folder.name) or SCORERS.get(totals.get("scorer", ""))
    if scorer is None:
        raise InputError(
            f"{folder / 'totals.json'}: unknown scorer {totals.get('scorer')!r}; known: {', '.join(SCORERS)}"
        )
    cases = _rows(folder / totals.get("cases_file", "cases.jsonl"))
    expected = _rows(folder / "expected.jsonl")
    if len(cases) != len(expected):
        raise InputError(f"{folder}: {len(cases)} cases, but {len(expected)} rows in expected.jsonl")
    outcomes = scorer.score(cases, Context(folder, assets))
    differences: list[Difference] = []
    equal = 0
    for wanted, got in zip(expected, outcomes, strict=True):
        name = wanted["id"] if "id" in wanted else wanted["index"]
        found = list(_case(name, wanted, got, scorer))
        differences += found
        equal += not found
    wanted = {key: value for key, value in totals.items() if key not in MADE}
    found = scorer.totals(cases, outcomes)
    differences += [
        Difference(TOTALS, field, one, other) for field, one, other in _unequal("", wanted, dict(found), scorer)
    ]
    return Comparison(len(cases), equal, tuple(differences))


def _case(name: str | int, wanted: Row, got: Mapping[str, Any], scorer: Recorded) -> Iterator[Difference]:
    info = {"id"} | scorer.info | scorer.info_of(wanted)
    for field, value in wanted.items():
        if field in info:
            continue
        if field in NAMED and value is not None and got.get(field) is not None:
            continue  # whatever the name of the exception
        for path, one, other in _unequal(field, value, got.get(field, ABSENT), scorer):
            yield Difference(name, path, one, other)
    for field in RAISES:
        if wanted.get(field) is None and got.get(field) is not None:
            yield Difference(name, field, None, got[field])


def _unequal(path: str, wanted: Any, got: Any, scorer: Recorded) -> Iterator[tuple[str, Any, Any]]:
    """Yields (field, expected, got) of what differs, at any depth of objects."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            if key in MADE or key in scorer.info:
                continue
            inside = got.get(key, ABSENT) if isinstance(got, Mapping) else ABSENT
            yield from _unequal(f"{path}.{key}" if path else key, value, inside, scorer)
    elif not _same(wanted, got, scorer.tolerance):
        yield path, wanted, got


def _same(wanted: Any, got: Any, tolerance: float) -> bool:
    if isinstance(wanted, list | tuple) and isinstance(got, list | tuple):
        pairs: Sequence[tuple[Any, Any]] = list(zip(wanted, got, strict=False))
        return len(wanted) == len(got) and all(_same(*pair, tolerance) for pair in pairs)
    if isinstance(wanted, bool) or isinstance(got, bool):
        return wanted is got
    if isinstance(wanted, str) and isinstance(got, str) and wanted.startswith("raises"):
        return got.startswith("raises")  # whatever the name of the exception
    if isinstance(got, float) and not math.isfinite(got) and isinstance(wanted, str):
        return wanted == str(got)  # JSON has no nan and inf
    if isinstance(wanted, float) and isinstance(got, int | float) or isinstance(wanted, int) and isinstance(got, float):
        return math.isclose(wanted, got, rel_tol=tolerance, abs_tol=tolerance)
    return type(wanted) is type(got) and wanted == got


def _object(path: Path) -> Row:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}") from None


def _rows(path: Path) -> list[Row]:
    """Returns the objects of a JSONL file, whose lines end at line feeds only: texts hold other separators."""
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    found: list[Row] = []
    for number, line in enumerate(lines, 1):
        if line:
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise InputError(f"{path}:{number}: not JSON: {error}") from None
    return found
