"""Compares runs: figures with intervals, cost, curves, sounds, and differences of their configs.

python -m experiments.compare runs/recipe0 runs/recipe1 runs/recipe2 [--under stages]
python -m experiments.compare runs/group_size --out runs/group_size/comparison [--baseline group_size=5]
python -m experiments.compare scores/mine scores/theirs [--under voicebench]

The arguments are workdirs of runs, or the folder of a sweep, which means its finished runs. Runs whose configs are the
same except for the seed are a variant. A single variant is shown run by run with mean and standard deviation. Several
are shown with mean and interval, and a star where the difference to the baseline is significant. Every number in the
runs' `report.json` is a row, named by its keys; `--under` chooses rows by the start of their names. `--out` gets
`report.html`, `report.json`, `table.md` and `table.csv`. See docs/sweeps.md.

Folders of evaluations by benchmarks (docs/evaluation.md) are compared model by model; differences are on shared rows.
"""

import json
from pathlib import Path

from absl import flags

from experiments.comparing.evaluations import compare_evaluations, is_evaluation
from experiments.comparing.page import comma_separated, compare, long_rows, make_comparison, markdown, rows
from experiments.comparing.variants import find_runs, read_runs, variants
from fac_jax import cli
from fac_jax.evaluation.reports.comparison import Comparison, constant_metrics, to_json, write_comparison
from fac_jax.io import write_text

UNDER = flags.DEFINE_string("under", "", "Start of the names of the figures that are shown.")
BASELINE = flags.DEFINE_string("baseline", None, "Variant that the others are compared with; the first if absent.")
FORMAT = flags.DEFINE_enum("format", "markdown", ["markdown", "csv", "json"], "Format of the table that is printed.")
OUT = flags.DEFINE_string("out", None, "Folder that gets a page and tables.")


def main(*runs: str) -> None:
    """Compares the runs."""
    given = [Path(run) for run in runs]
    if any(map(is_evaluation, given)):
        _show(compare_evaluations(given, UNDER.value, BASELINE.value))
        return
    paths = find_runs(given)
    found = variants(read_runs(paths, UNDER.value))
    if len(found) == 1 and FORMAT.value == "markdown" and not OUT.value:
        print(markdown(compare(paths, UNDER.value)))
        return
    _show(make_comparison(found, BASELINE.value))


def _show(comparison: Comparison) -> None:
    if OUT.value:
        folder = Path(OUT.value)
        write_text(folder / "table.md", markdown(rows(comparison)) + "\n")
        write_text(folder / "table.csv", comma_separated(long_rows(comparison)))
        write_comparison(folder / "report.html", comparison)
    if FORMAT.value == "json":
        print(json.dumps(to_json(comparison), indent=2))
    else:
        text = markdown(rows(comparison)) if FORMAT.value == "markdown" else comma_separated(long_rows(comparison))
        print(text.rstrip("\n"))
        if FORMAT.value == "markdown" and (same := constant_metrics(comparison.figures)):
            print(f"\nEqual in all, and left out: {', '.join(same)}")


if __name__ == "__main__":
    cli.run(main)
