"""The local backend as a program that a test can kill: `python tests/support/sweep_run.py FOLDER PROCESSES PAUSE`."""

import itertools
import json
import sys
from pathlib import Path

from experiments.sweeps.config import Local, SweepConfig
from experiments.sweeps.local import run_all
from experiments.sweeps.runs import Run
from experiments.sweeps.state import ASKED, Placed, place


def placed(folder: Path, pause: float) -> list[Placed]:
    """Twelve runs: three sizes of a group, two ways of grouping, two seeds."""
    sweep = SweepConfig("toy_launcher", "none", flags=(f"--pause={pause}",))
    runs = []
    for size, grouping, seed in itertools.product((1, 3, 5), ("mean", "concat"), (0, 1)):
        config = {"seed": seed, "model": {"group_size": size, "grouping": grouping}}
        runs.append(Run(f"group_size={size},grouping={grouping},seed={seed}", {}, config))
    found = [place(sweep, run, folder) for run in runs]
    for one in found:
        one.workdir.mkdir(parents=True, exist_ok=True)
        (one.workdir / ASKED).write_text(json.dumps({"config": one.run.config}))
    return found


if __name__ == "__main__":
    folder, processes, pause = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    sweep = SweepConfig("toy_launcher", "none", local=Local(processes, memory_gib=0.0))
    failed = run_all(sweep, placed(folder, pause), lambda one, what: print(one.run.name, what, flush=True))
    sys.exit(bool(failed))
