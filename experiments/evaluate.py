"""Scores a trained model on the questions of a split; prints JSON.

python -m experiments.evaluate --config experiments/configs/quickstart.py --workdir runs/quickstart --split dev
"""

import json
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from experiments.run.assemble import start_toy
from experiments.toy.questions import evaluate
from fac_jax import cli
from fac_jax.checkpoint.export import load_params
from fac_jax.training.sharding import abstract_params

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", "runs/data", "Folder of data sets, shared between runs.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model, stage or checkpoint; the run's last model if absent.")
SPLIT = flags.DEFINE_enum("split", "dev", ["dev", "test"], "Questions; choose between models on dev alone.")


def main() -> None:
    """The command."""
    workdir = Path(WORKDIR.value)
    materials, _ = start_toy(cli.config(CONFIG), workdir, Path(DATA_DIR.value))
    expected = abstract_params(materials.model, materials.layout)
    params, _ = load_params(Path(CHECKPOINT.value) if CHECKPOINT.value else workdir, expected)
    metrics, _, _ = evaluate(params, materials, materials.rows[SPLIT.value], sounds=0)
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main)
