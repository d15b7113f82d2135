"""Several processes as one run: how they find each other, what they exchange, and which goes first."""

import contextlib
import itertools
import logging
import os
from collections.abc import Iterator
from typing import Any, Final, Literal, TypeAlias

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from fac_jax.types import InputError

LOGGER = logging.getLogger("fac_jax")  # launchers show it (`fac_jax.cli`), whatever absl's verbosity
WAIT: Final = 24 * 60 * 60  # seconds; speaking or preparing a large data set takes hours
_CALLS: Final = itertools.count()  # a barrier's name is used once
Cluster: TypeAlias = Literal["none", "tpu", "slurm", "flags"]


def cores() -> int:
    """Returns how many cores of its machine this process may use; macOS does not tell, and all of them count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def join(
    cluster: Cluster, coordinator: str | None = None, processes: int | None = None, process: int | None = None
) -> None:
    """Joins the processes of a run, before anything is computed.

    Args:
      cluster: source of their addresses: "tpu" is the metadata of a TPU slice or of GKE, "slurm" the variables of the
        job step, "flags" the other three arguments: host:port of process 0, the number of processes, and the index of
        this one, from 0; "none" is a run of one process.

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
    """True in the process that writes files and messages for all processes."""
    return jax.process_index() == 0


def several() -> bool:
    """True if the run has more than one process."""
    return jax.process_count() > 1


def log(message: str) -> None:
    """Logs a message at level INFO in the first process; of several processes it names the index and the number."""
    if is_first():
        several_of = f"[process {jax.process_index()} of {jax.process_count()}] " if several() else ""
        LOGGER.info("%s%s", several_of, message)


def everywhere(tree: Any) -> Any:
    """Returns a tree of arrays in numpy on every host, also where they lie on the devices of several."""
    return multihost_utils.process_allgather(tree, tiled=True) if several() else jax.device_get(tree)


def of_first(flag: bool) -> bool:
    """Returns on every host what the first one has found."""
    return bool(multihost_utils.broadcast_one_to_all(np.array(flag))) if several() else flag


def wait(where: str) -> None:
    """Waits until all processes have reached `where`, at most a day; returns at once in a run of one process.

    It is a barrier of the coordination service, since a collective of the devices gives up after seconds on some.
    """
    if several():
        multihost.get_barrier_sync_fn()(key=f"{where} {next(_CALLS)}", timeout_ms=1000 * WAIT)


@contextlib.contextmanager
def first_goes_first(what: str) -> Iterator[None]:
    """Runs the body in process 0 first, then in all others, which find the files that it wrote.

    Raises:
      InputError: in the others, if the body has failed in process 0, whose message says why.
    """
    if not several():
        yield
    elif is_first():
        done = False
        try:
            yield
            done = True
        finally:
            wait(what)
            multihost_utils.broadcast_one_to_all(np.array(done))
    else:
        wait(what)
        if not multihost_utils.broadcast_one_to_all(np.array(False)):
            raise InputError(f"{what}: process 0 has stopped, see its message")
        yield


def stop_requested(step: int) -> bool:
    """True if a scheduler's SIGTERM has reached any process; all processes get the same answer for the same step."""
    return multihost_utils.reached_preemption_sync_point(step)
