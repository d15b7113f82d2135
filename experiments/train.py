"""Trains the stages of a config in a workdir, and goes on where a run before it stopped.

python -m experiments.train --config experiments/configs/quickstart.py --workdir runs/mine [--config.seed=1]
"""

from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiments import launch
from experiments.assemble import assets, start
from experiments.recipe import run_recipe

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; holds its config, stages and models.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", "runs/data", "Folder of data sets, shared between runs.")


def main() -> None:
    """The command."""
    workdir = Path(WORKDIR.value)
    materials, recipe = start(launch.config(CONFIG), workdir, Path(DATA_DIR.value))
    print(f"model: {run_recipe(recipe, workdir, materials.data, assets(workdir))}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    launch.run(main)
