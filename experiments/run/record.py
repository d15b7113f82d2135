"""What a run was: `record.json` in its workdir, enough to run it again (`experiments.reproduce`).

It holds the whole config that was run and how it was started; the state of the repository, the packages, the machine
and the variables that change what is computed; a checksum of the data; and, at the end, time, FLOPs, tokens and final
metrics. A run that was stopped and went on has a session for each start.
"""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import jax
import psutil
from absl import flags
from etils import epath
from flax.traverse_util import flatten_dict

from experiments.run.data import Run
from experiments.run.model_card import CARD, model_card
from fac_jax.io import write_text
from fac_jax.parallel.hosts import cores, is_first
from fac_jax.training.metrics import read_curve

RECORD = "record.json"
ROOT = Path(__file__).parents[2]
GIB = 2**30
VARIABLES = ("JAX_", "XLA_", "LIBTPU_", "OMP_", "MKL_", "OPENBLAS_", "GLIBC_TUNABLES", "TF_")  # beginnings of names
OWN_FLAGS = ("config", "workdir", "data_dir")  # of every launcher; what reproduces a run gives them anew
COUNTED = ("flops", "tokens", "audio_seconds")
NO_RESULTS = ("seconds", "seconds_total", "parameters", "environment", "seeds", "spread")  # of a report


class RunRecord:
    """The record of a run while it is run; of several hosts the first writes."""

    def __init__(self, run: Run) -> None:
        """Writes how a run starts, or resumes."""
        self._run, self._workdir = run, run.workdir
        self._stages = [stage.name for stage in run.config.stages]
        if not is_first():
            return
        session = {"started": psutil.Process().create_time(), "ended": None, "git": git_state()}
        self._values: dict[str, Any] = {
            **how(run.config.tree()),
            "data": run.checksum(),
            "environment": environment_state(),
            "sessions": [*_earlier_sessions(run.workdir / RECORD), session],
            "finished": None,
        }
        self._write()

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Writes what the run cost and gave, the last step's figures of every stage and these, and the model card."""
        if not is_first():
            return
        sessions = self._values["sessions"]
        sessions[-1]["ended"] = time.time()
        self._values |= {
            "seconds": sum(one["ended"] - one["started"] for one in sessions),
            "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB,
            "cost": cost(self._workdir, self._stages),
            "metrics": {**last_figures(self._workdir, self._stages), **metrics},
            "finished": sessions[-1]["ended"],
        }
        self._write()
        write_text(self._workdir / CARD, model_card(self._run, metrics))

    def _write(self) -> None:
        write_text(self._workdir / RECORD, json.dumps(self._values, indent=2) + "\n")


def _earlier_sessions(file: epath.Path) -> list[dict[str, Any]]:
    """Returns the sessions before this one; one that was stopped ended with the last line of its curves."""
    if not file.exists():
        return []
    sessions = json.loads(file.read_text())["sessions"]
    if sessions[-1]["ended"] is None:
        written = [file, *file.parent.glob("*/*.jsonl")]
        sessions[-1]["ended"] = max(one.stat().mtime for one in written)
    return sessions


def how(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns launcher, options and config of this process."""
    return {
        "launcher": f"experiments.{Path(sys.argv[0]).stem}",
        "command": sys.argv[1:],
        "flags": own_flags(),
        "config": dict(values),
        "seeds": {".".join(path): one for path, one in flatten_dict(dict(values)).items() if path[-1] == "seed"},
    }


def own_flags() -> list[str]:
    """Returns the options of the launcher that were given, without those of `OWN_FLAGS` and changes of the config."""
    if not flags.FLAGS.is_parsed():
        return []
    mine = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    return [flag.serialize() for flag in mine if flag.present and flag.name.split(".")[0] not in OWN_FLAGS]


def git_state() -> dict[str, str] | None:
    """Returns the commit of the repository and a checksum of later changes, "" for none; None outside a repository."""

    def said(*words: str) -> str:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True).stdout

    try:
        changes = said("diff", "HEAD") + said("status", "--porcelain", "--untracked-files=normal")
        digest = hashlib.sha256(changes.encode()).hexdigest()[:16] if changes else ""
        return {"commit": said("rev-parse", "HEAD").strip(), "changes": digest}
    except (OSError, subprocess.CalledProcessError):
        return None


def environment_state() -> dict[str, Any]:
    """Returns the packages, the machine and the environment variables of the process."""
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "packages": dict(sorted({one.metadata["Name"]: one.version for one in distributions()}.items())),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": cores(),
        "device": {"platform": devices[0].platform, "kind": devices[0].device_kind, "count": len(devices)},
        "processes": jax.process_count(),
        "variables": {name: value for name, value in sorted(os.environ.items()) if name.startswith(VARIABLES)},
    }


def cost(workdir: epath.Path, stages: Sequence[str]) -> dict[str, float]:
    """Sums the FLOPs, tokens (LLM positions) and seconds of audio of the stages, as `metrics.jsonl` counts them."""
    lines = [line for stage in stages for line in read_curve(workdir / stage)]
    return {name: float(sum(line[name] for line in lines)) for name in COUNTED}


def last_figures(workdir: epath.Path, stages: Sequence[str]) -> dict[str, float]:
    """Returns every figure of the last step of each stage, "STAGE/loss"."""
    curves = {stage: read_curve(workdir / stage) for stage in stages}
    last = {stage: lines[-1] for stage, lines in curves.items() if lines}
    return {f"{stage}/{name}": value for stage, line in last.items() for name, value in line.items() if name != "step"}


def results(report: Mapping[str, Any]) -> dict[str, float]:
    """Returns the figures of a report that are results of the run, by their keys."""
    return numbers({key: value for key, value in report.items() if key not in NO_RESULTS})


def numbers(report: Mapping[str, Any]) -> dict[str, float]:
    """Returns every number of a report by its keys, joined by dots; lists (curves, answers) are left out."""
    leaves = flatten_dict(dict(report), sep=".").items()
    return {name: float(x) for name, x in leaves if isinstance(x, int | float) and not isinstance(x, bool)}
