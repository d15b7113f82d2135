"""Several processes as one run: how they find each other, what they tell each other, who goes first."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import jax
import numpy as np
from jax.experimental import multihost_utils

from fac_jax.types import InputError

Cluster: TypeAlias = Literal["none", "tpu", "slurm", "flags"]


def join(
    cluster: Cluster, coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Joins the processes of a run, before anything is computed.

    Args:
      cluster: who knows them: "tpu" the metadata of a TPU slice or of GKE, "slurm" the variables of the job step,
        "flags" the other three arguments; "none" for a process by itself.
      coordinator: host:port of process 0.
      processes: how many there are.
      process: number of this one, from 0.

    Raises:
      InputError: an argument is missing, or the processes do not find each other.
    """
    explicit = {"coordinator": coordinator, "processes": processes, "process": process}
    given = [name for name, value in explicit.items() if value is not None]
    if cluster == "flags" and len(given) < len(explicit):
        missing = next(name for name in explicit if name not in given)
        raise InputError(f"--cluster=flags needs --{missing}: give --coordinator=HOST:PORT --processes=N --process=I")
    if cluster != "flags" and given:
        raise InputError(f"--{given[0]} is for --cluster=flags; --cluster is {cluster}")
    try:
        match cluster:
            case "none":
                return
            case "flags":
                jax.distributed.initialize(coordinator, processes, process)
            case "slurm":
                jax.distributed.initialize(cluster_detection_method="slurm")
            case "tpu":
                jax.distributed.initialize()
    except (RuntimeError, ValueError, KeyError) as error:
        raise InputError(
            f"--cluster={cluster}: the processes do not find each other: {str(error).splitlines()[0]}"
        ) from error


def is_first() -> bool:
    """Whether this process writes what one writes for all."""
    return jax.process_index() == 0


def several() -> bool:
    """Whether there are others."""
    return jax.process_count() > 1


def wait(where: str) -> None:
    """Until all processes are at `where`; nothing for a process by itself."""
    if several():
        multihost_utils.sync_global_devices(where)


@contextlib.contextmanager
def first_goes_first(what: str) -> Iterator[None]:
    """The body runs in process 0, then in all others, which find its files."""
    if not is_first():
        wait(what)
    yield
    if is_first():
        wait(what)


def everybodys(value: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON-able values of all processes, in their order."""
    if not several():
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array(len(text)))
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(text)] = text
    rows = multihost_utils.process_allgather(padded)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def told_to_stop(step: int) -> bool:
    """Whether a scheduler's SIGTERM has reached a process; all say so after the same step."""
    return multihost_utils.reached_preemption_sync_point(step)
