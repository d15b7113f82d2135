"""Trains the stages of a config in a workdir, and goes on where a run before it stopped.

python -m experiments.train --config experiments/configs/quickstart.py --workdir runs/mine [--config.seed=1]

On several hosts start it once on each, with --cluster: docs/scaling.md.
"""

import sys
from pathlib import Path
from typing import cast

import jax
from absl import flags
from ml_collections import config_flags

from experiments.run.assemble import assets, start
from experiments.run.run_record import RunRecord
from experiments.run.shared_stages import stage_source
from fac_jax import cli
from fac_jax.parallel import hosts
from fac_jax.parallel.chips import peak_flops_of
from fac_jax.training.recipe import run_recipe

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; holds its config, stages and models.", required=True)
CLUSTER = flags.DEFINE_enum("cluster", "none", ["none", "tpu", "slurm", "flags"], "Who knows the run's processes.")
COORDINATOR = flags.DEFINE_string("coordinator", None, "--cluster=flags: HOST:PORT of process 0.")
PROCESSES = flags.DEFINE_integer("processes", None, "--cluster=flags: how many there are.", 1)
PROCESS = flags.DEFINE_integer("process", None, "--cluster=flags: number of this one, from 0.", 0)
DATA_DIR = flags.DEFINE_string("data_dir", "runs/data", "Folder of data sets, shared between runs.")
PEAK = flags.DEFINE_float(
    "peak_tflops", None, "TFLOP/s that one device can do, for the MFU; a table's if absent.", lower_bound=0
)


def main() -> None:
    """The command."""
    hosts.join(cast(hosts.Cluster, CLUSTER.value), COORDINATOR.value, PROCESSES.value, PROCESS.value)
    workdir = Path(WORKDIR.value)
    peak = PEAK.value and PEAK.value * 1e12
    config = cli.config(CONFIG)
    materials, recipe = start(config, workdir, Path(DATA_DIR.value))
    checksum = materials.checksum()
    record = RunRecord(workdir, config, checksum, recipe.names)
    if peak_flops_of(jax.local_devices(), peak) is None:
        kind = jax.local_devices()[0].device_kind
        print(f"no MFU: what a device of kind {kind!r} can do is not known; say it with --peak_tflops", file=sys.stderr)
    source = stage_source(config, recipe, checksum)
    trained = run_recipe(recipe, workdir, materials.data, assets(workdir), peak=peak, source=source)
    record.finish({})
    print(f"model: {trained}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
