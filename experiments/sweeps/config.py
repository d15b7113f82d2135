"""The config of a sweep, and the function that makes one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ml_collections import ConfigDict

from experiments.sweeps.axes import Axis
from fac_jax.config import from_tree, to_config_dict
from fac_jax.types import InputError

Backend = Literal["local", "slurm", "xpk", "dry"]


@dataclasses.dataclass(frozen=True)
class Local:
    """Runs on this machine.

    Attributes:
      processes: runs at a time; each has its own share of the cores.
      memory_gib: that a run needs.
      hosts: processes that make one run together, as several hosts would (`--cluster=flags`).
    """

    processes: int = 1
    memory_gib: float = 5.0
    hosts: int = 1


@dataclasses.dataclass(frozen=True)
class Slurm:
    """Runs as an array of batch jobs.

    Attributes:
      options: of sbatch for every run: `("--gpus-per-node=8", "--time=4:00:00")`.
      at_once: jobs of the array that may run together.
    """

    options: tuple[str, ...] = ()
    at_once: int = 16


@dataclasses.dataclass(frozen=True)
class Xpk:
    """Runs as workloads on TPU slices of a GKE cluster.

    Attributes:
      cluster: its name.
      project: of the cloud.
      zone: of the cluster.
      tpu_type: of a slice: "v5litepod-64".
      slices: of one run.
      image: holds this repository in /fac_jax with `pip install '.[tpu]'`.
      restarts: after evictions.
      grace_seconds: between SIGTERM and the end.
    """

    cluster: str | None = None
    project: str | None = None
    zone: str | None = None
    tpu_type: str | None = None
    image: str | None = None
    slices: int = 1
    restarts: int = 20
    grace_seconds: int = 300


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """A sweep.

    Attributes:
      launcher: module that makes a run of a config in a workdir: "experiments.quickstart".
      config: file of the base config.
      axes: by name.
      seeds: every point is run with each; empty leaves the config's own.
      fixed: changes of the base config for all runs, `((key, value), ..)`.
      flags: more options of the launcher: `("--fast",)`.
      data_dir: of data sets, shared by all runs; SWEEP/data if None.
      stages_dir: where runs find stages that others of them have trained (`experiments.run.shared_stages`); every run
        trains its own if None.
      backend: where runs are run; the settings of each follow.
      retries: more attempts at a run that fails, in one call.
      disk_gib: that a run writes.
    """

    launcher: str
    config: str
    axes: dict[str, Axis] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    fixed: tuple[tuple[str, Any], ...] = ()
    flags: tuple[str, ...] = ()
    data_dir: str | None = None
    stages_dir: str | None = None
    backend: Backend = "local"
    local: Local = Local()
    slurm: Slurm = Slurm()
    xpk: Xpk = Xpk()
    retries: int = 1
    disk_gib: float = 0.5


def sweep(
    launcher: str,
    config: str,
    axes: Mapping[str, Mapping[str, Any]],
    seeds: Sequence[int] = (0, 1, 2),
    fixed: Mapping[str, Any] | None = None,
    flags: Sequence[str] = (),
    **others: Any,
) -> ConfigDict:
    """Returns the config of a sweep (`SweepConfig`); its axes are made by the functions of `sweeps.axes`."""
    changes = tuple((fixed or {}).items())
    made = to_config_dict(SweepConfig(launcher, config, seeds=tuple(seeds), fixed=changes, flags=tuple(flags)))
    made.update({"axes": ConfigDict(dict(axes)), **others})
    return made


def read_sweep(config: ConfigDict) -> SweepConfig:
    """Returns the config of a sweep as a frozen dataclass.

    Raises:
      InputError: a key that sweeps do not have, one that is missing, or a backend that is not known.
    """
    found = from_tree(SweepConfig, config.to_dict(), "sweep")
    for name in ("processes", "hosts"):
        if getattr(found.local, name) < 1:
            raise InputError(f"local.{name} is {getattr(found.local, name)}: give at least 1")
    return found
