"""How `experiments.convert` shows the figures of a comparison."""

import json
import sys
from collections.abc import Iterable

from absl import flags

from fac_jax.evaluation.recorded import Figure

JSON = flags.DEFINE_bool("json", False, "verify, verify-codec, inspect: print JSON.")

FAILED = 1


def show_figures(figures: Iterable[Figure]) -> None:
    """Prints each as it comes, or JSON of all with --json; exits 1 if one exceeds its limit."""
    found: list[Figure] = []
    for figure in figures:
        found.append(figure)
        if not JSON.value:
            mark = "" if figure.holds else "  EXCEEDED"
            print(f"{figure.name:50s} {figure.value:10.3g}  <= {figure.limit:g}{mark}", flush=True)
    if JSON.value:
        print(json.dumps([{**vars(figure), "holds": figure.holds} for figure in found], indent=2))
    if not all(figure.holds for figure in found):
        sys.exit(FAILED)
