"""Flags of the launchers that run on several hosts, and how their processes find each other (docs/scaling.md)."""

import sys
from typing import cast

from absl import flags

from fac_jax.parallel import hosts


class Cluster:
    """Flags of a launcher, which it defines once."""

    def __init__(self) -> None:
        self._cluster = flags.DEFINE_enum(
            "cluster", "none", ["none", "tpu", "slurm", "flags"], "Who knows the processes of the run."
        )
        self._coordinator = flags.DEFINE_string("coordinator", None, "--cluster=flags: HOST:PORT of process 0.")
        self._processes = flags.DEFINE_integer("processes", None, "--cluster=flags: number of processes.", 1)
        self._process = flags.DEFINE_integer("process", None, "--cluster=flags: number of this one, from 0.", 0)
        for flag in (self._cluster, self._coordinator, self._processes, self._process):  # so that --help lists them
            flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[flag.name])

    def join(self) -> None:
        """Joins the processes of the run, before anything is computed; raises as `hosts.join`."""
        cluster = cast(hosts.Cluster, self._cluster.value)
        hosts.join(cluster, self._coordinator.value, self._processes.value, self._process.value)
