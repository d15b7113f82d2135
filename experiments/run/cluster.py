"""Flags of the launchers that run on several hosts, and how their processes find each other (docs/scaling.md)."""

import sys
from collections.abc import Callable
from typing import cast

from absl import flags

from fac_jax.parallel import hosts


def cluster_flags() -> Callable[[], None]:
    """Defines a launcher's flags; returns what joins the run's processes before anything is computed (`hosts.join`)."""
    cluster = flags.DEFINE_enum(
        "cluster", "none", ["none", "tpu", "slurm", "flags"], "Who knows the processes of the run."
    )
    coordinator = flags.DEFINE_string("coordinator", None, "--cluster=flags: HOST:PORT of process 0.")
    processes = flags.DEFINE_integer("processes", None, "--cluster=flags: number of processes.", 1)
    process = flags.DEFINE_integer("process", None, "--cluster=flags: number of this one, from 0.", 0)
    for flag in (cluster, coordinator, processes, process):  # so that --help lists them
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])
    return lambda: hosts.join(cast(hosts.Cluster, cluster.value), coordinator.value, processes.value, process.value)
