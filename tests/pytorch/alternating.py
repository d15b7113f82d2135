"""Times ours against the release's own PyTorch classes, which run in a process of their own, in turn."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmarks.measure import once
from fac_jax.evaluation.reports.machine import machine
from fac_jax.io import write_text

REST = 0.5  # seconds
Figures = dict[str, Any]


def options(description: str | None) -> argparse.Namespace:
    """Parses the command line of a comparison."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--code", required=True, help="clone of the release's repository")
    parser.add_argument("--python", required=True, help="Python that has torch and transformers 4.52.3")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each side (default 5)")
    parser.add_argument("--json", type=Path, help="file that gets all figures")
    given = parser.parse_args()
    if not (Path(given.code) / "funaudiochat").is_dir():
        parser.error(f"--code={given.code}: holds no folder funaudiochat; give a clone of the release's repository")
    return given


def start(python: str, script: str, *arguments: object) -> subprocess.Popen[str]:
    """Starts the release, a script next to this one, which answers orders."""
    command = [python, str(Path(__file__).with_name(script)), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str], order: str | None = None) -> Figures:
    """Returns what the release says next, after an order if one is given."""
    assert process.stdin is not None and process.stdout is not None
    if order:
        print(order, file=process.stdin, flush=True)
    for line in process.stdout:
        if line.startswith("{"):  # others are the release's own
            return json.loads(line)
    sys.exit("the release stopped")


def in_turn(mine: Callable[[], Any], theirs: Callable[[], Figures], pairs: int) -> Figures:
    """Returns the seconds of the runs of both sides, `pairs` of each, ours first."""
    times = [(rested(lambda: once(mine)), rested(lambda: theirs()["seconds"])) for _ in range(pairs)]
    return {"ours": [own for own, _ in times], "release": [other for _, other in times]}


def rested(run: Callable[[], float]) -> float:
    """Gives the second of two runs, begun when the threads of the other side, which wait actively at first, sleep.

    The first finds caches and memory as the other side left them, which no loop ever does.
    """
    time.sleep(REST)
    run()
    return run()


def report(figures: Mapping[str, Figures], torch: str, file: Path | None) -> None:
    """Prints a table with a row for each measurement, and writes a file of all figures if one is given."""
    where = f"{machine()}, jax {jax.__version__}, torch {torch}"
    print(where)
    print("| | ours, s: least (median) | release | ratio of the least | median of the pairs |")
    print("|---|---:|---:|---:|---:|")
    for name, found in figures.items():
        mine, theirs = np.array(found["ours"]), np.array(found["release"])
        cells = [f"{side.min():.2f} ({np.median(side):.2f})" for side in (mine, theirs)]
        print(
            "| "
            + " | ".join([name, *cells, f"{mine.min() / theirs.min():.2f}", f"{np.median(mine / theirs):.2f}"])
            + " |"
        )
    if file:
        write_text(file, json.dumps({"machine": where} | dict(figures), indent=2) + "\n")
