"""Figures of several runs side by side, with their mean and standard deviation, as a Markdown table.

python -m experiments.compare runs/recipe0 runs/recipe1 runs/recipe2 [--under stages]

Every number in the runs' `report.json` is a row, named by the keys that lead to it; `--under` chooses those whose name
begins so.
"""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from experiments import launch
from experiments.reporting import numbers
from fac_jax.types import InputError

UNDER = flags.DEFINE_string("under", "", "Beginning of the names that are shown.")


def compare(runs: Sequence[Path], under: str = "") -> list[list[str]]:
    """Rows of the table, the heading first.

    Raises:
      InputError: a run without a report, one whose figures that begin so are others than the first's, or none that do.
    """
    found = []
    for run in runs:
        try:
            report = dict(numbers(json.loads((run / "report.json").read_text())))
        except (OSError, ValueError) as error:
            raise InputError(f"{run / 'report.json'} cannot be read ({error}): is the run finished?") from None
        found.append({name: value for name, value in report.items() if name.startswith(under)})
        if not found[-1]:
            raise InputError(f"{run}: no figure begins with {under!r}; there are {', '.join(sorted(report))}")
        strange = sorted(found[0].keys() ^ found[-1].keys())
        if strange:
            raise InputError(f"{strange[0]} is a figure of only one of {runs[0]} and {run}: compare runs of one kind")
    rows = [["", *(run.name for run in runs), "mean", "standard deviation"]]
    for name in found[0]:
        values = [figure[name] for figure in found]
        spread = [statistics.stdev(values)] if len(values) > 1 else []
        shown = [f"{value:.3f}" for value in (*values, statistics.mean(values), *spread)]
        rows.append([name, *shown, *[""] * (len(rows[0]) - 1 - len(shown))])
    return rows


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    rule = ["---", *["---:"] * (len(rows[0]) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rule, *rows[1:]))


def main(*runs: str) -> None:
    """Compares the runs' reports."""
    print(markdown(compare([Path(run) for run in runs], UNDER.value)))


if __name__ == "__main__":
    launch.run(main)
