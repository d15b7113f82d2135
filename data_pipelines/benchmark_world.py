"""Makes the toy world of the benchmarks: rows to train on, and held-out rows in the official layouts.

python -m data_pipelines.benchmark_world --out runs/benchmarks

`data_pipelines/worlds/benchmark_world.py` says what the folder holds. It appears when it is complete; one that is there
is left as it is. Takes half a minute on two cores.
"""

from pathlib import Path

from absl import flags

from data_pipelines.worlds.arithmetic import WorldConfig
from data_pipelines.worlds.benchmark_world import BenchmarkWorld, build
from fac_jax import cli

OUT = flags.DEFINE_string("out", None, "Folder that is made.", required=True)
SEED = flags.DEFINE_integer("seed", 0, "Seed of all draws.")
PROCESSES = flags.DEFINE_integer("processes", 2, "Processes that speak.", 1)


def main() -> None:
    """Makes the folder."""
    build(BenchmarkWorld(WorldConfig(seed=SEED.value)), Path(OUT.value), PROCESSES.value)


if __name__ == "__main__":
    cli.run(main)
