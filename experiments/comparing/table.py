"""Tables of the figures of several runs."""

import csv
import io
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from experiments.run.record import numbers
from fac_jax.types import InputError


def read_figures(run: Path) -> dict[str, float]:
    """Reads the figures of a run's report, or of its record if it has no report.

    Raises:
      InputError: the run has neither.
    """
    record = run / "record.json"
    try:
        if not (run / "report.json").exists() and record.exists():
            return dict(numbers(json.loads(record.read_text())["metrics"]))
        return dict(numbers(json.loads((run / "report.json").read_text())))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run / 'report.json'} cannot be read ({error}): is the run finished?") from None


def same_figures(runs: Sequence[Path], under: str) -> list[dict[str, float]]:
    """Reads the figures of every run whose names start with `under`; raises as `compare`."""
    found: list[dict[str, float]] = []
    for run in runs:
        figures = read_figures(run)
        found.append({name: value for name, value in figures.items() if name.startswith(under)})
        if not found[-1]:
            raise InputError(f"{run}: no figure starts with {under!r}; known are {', '.join(sorted(figures))}")
        strange = sorted(found[0].keys() ^ found[-1].keys())
        if strange:
            raise InputError(f"{strange[0]} is a figure of only one of {runs[0]} and {run}: compare runs of one kind")
    return found


def compare(runs: Sequence[Path], under: str = "") -> list[list[str]]:
    """Returns the table of the figures of runs: the heading, then a row for every figure.

    Raises:
      InputError: a run has no report, its figures differ from the first run's, or none starts with `under`.
    """
    found = same_figures(runs, under)
    rows = [["", *(run.name for run in runs), "mean", "standard deviation"]]
    for name in found[0]:
        values = [figure[name] for figure in found]
        spread = [statistics.stdev(values)] if len(values) > 1 else []
        shown = [f"{value:.3f}" for value in (*values, statistics.mean(values), *spread)]
        rows.append([name, *shown, *[""] * (len(rows[0]) - 1 - len(shown))])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows as a Markdown table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def comma_separated(rows: Sequence[Sequence[str]]) -> str:
    """Formats rows as CSV."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def between(page: str, begin: str, end: str, text: str) -> str:
    """Replaces the text between two marks of a page.

    Raises:
      InputError: the page lacks a mark.
    """
    if begin not in page or end not in page:
        raise InputError(f"the page has no place for the table: lines {begin} and {end}")
    return f"{page.split(begin)[0]}{begin}\n{text}\n{end}{page.split(end)[1]}"
