"""The folder of a sweep, which is checked before anything runs."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from experiments.run.lock import different
from experiments.sweeps.config import SweepConfig
from experiments.sweeps.state import ASKED, GIB, Placed
from fac_jax.io import write_text
from fac_jax.types import InputError

SWEEP = "sweep.json"


def check_room(sweep: SweepConfig, folder: Path, waiting: int) -> None:
    """Checks that there is the disk space, and on this machine the memory, that the runs need.

    Args:
      sweep: config of the sweep.
      folder: folder of the sweep; it need not exist.
      waiting: number of runs to run.

    Raises:
      InputError: there is too little of one of them.
    """
    there = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free, need = shutil.disk_usage(there).free / GIB, sweep.disk_gib * waiting
    if need > free:
        raise InputError(
            f"{folder}: {waiting} runs need {need:.1f} GiB (disk_gib={sweep.disk_gib:g} each), {free:.1f} GiB are free"
        )
    together = min(sweep.local.processes, waiting)
    memory, wanted = psutil.virtual_memory().available / GIB, sweep.local.memory_gib * together
    if sweep.backend == "local" and wanted > memory:
        raise InputError(
            f"{together} processes need {wanted:.1f} GiB of memory (local.memory_gib={sweep.local.memory_gib:g} each), "
            f"{memory:.1f} GiB are available: --config.local.processes={int(memory // sweep.local.memory_gib)}"
        )


def check_folder(sweep: SweepConfig, folder: Path, placed: Sequence[Placed]) -> None:
    """Checks that the folder is new or belongs to this sweep, which may have got more seeds and values since.

    Raises:
      InputError: the folder is inside that of a run or of another sweep, or it holds another sweep, or a run of one of
        these names with another config.
    """
    for parent in folder.absolute().parents:
        for file in (SWEEP, "config.json"):
            if (parent / file).exists():
                raise InputError(f"{folder}: lies in {parent}, which holds {file} of another run or sweep")
    if (folder / "config.json").exists():
        raise InputError(f"{folder}: is the workdir of a run; a sweep needs a folder of its own")
    if (folder / SWEEP).exists():
        there = _tell("sweep", json.loads((folder / SWEEP).read_text(encoding="utf-8")), identity(sweep))
        if there:
            raise InputError(f"{folder}: holds another sweep: {there}; take another --workdir")
    for one in placed:
        asked = one.workdir / ASKED
        if asked.exists():
            there = different(json.loads(asked.read_text(encoding="utf-8"))["config"], one.run.config)
            if there:
                raise InputError(f"{one.workdir}: holds another run: {there}; take another --workdir")
        elif one.workdir.exists() and any(one.workdir.iterdir()):
            raise InputError(f"{one.workdir}: is not empty and holds no run of this sweep; take another --workdir")


def identity(sweep: SweepConfig) -> dict[str, Any]:
    """Returns the properties that a sweep keeps when it gets more seeds and values."""
    axes = {name: {"kind": axis.kind, "keys": list(axis.keys)} for name, axis in sweep.axes.items()}
    fixed = {key: value for key, value in sweep.fixed}
    return {"launcher": sweep.launcher, "config": sweep.config, "axes": axes, "fixed": fixed, "flags": sweep.flags}


def _tell(name: str, theirs: dict[str, Any], ours: dict[str, Any]) -> str:
    return different({name: theirs}, {name: ours})


def claim_folder(sweep: SweepConfig, folder: Path, placed: Sequence[Placed]) -> None:
    """Writes the properties of the sweep and the configs of its runs."""
    write_text(folder / SWEEP, json.dumps(identity(sweep), indent=2) + "\n")
    for one in placed:
        if not (one.workdir / ASKED).exists():
            asked = {"name": one.run.name, "changes": one.run.changes, "config": one.run.config}
            write_text(one.workdir / ASKED, json.dumps(asked, indent=2) + "\n")
