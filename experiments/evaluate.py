"""Scores a model of a run on held-out rows: losses, accuracies, word error rates; prints JSON.

python -m experiments.evaluate --workdir runs/mine [--checkpoint runs/mine/STAGE] [--split test] [--most 200]

With --quantize or --quantize_tables the answers are those of quantised weights (docs/generation.md, "Weights"). Losses
are those of the weights as they are, and text_kl and speech_kl say how far the two are apart.

Any config with rows to evaluate on can be scored (docs/finetuning.md); the config is that of the workdir.
"""

import json
from typing import cast

from absl import flags
from ml_collections import config_flags

from experiments.run.scores import answers, divergences, losses
from experiments.run.setup import open_workdir, recipe_of, start
from fac_jax import cli
from fac_jax.checkpoint.export import load_params, resolve
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.types import InputError

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; that of the workdir if absent.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", "runs/data", "Folder of data sets, shared between runs.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model, stage or checkpoint; the run's last model if absent.")
SPLIT = flags.DEFINE_string("split", None, "Split of the sets that have several; that of the config if absent.")
MOST = flags.DEFINE_integer("most", None, "Rows of a set that are answered; all if absent.", 1)
ANSWER = flags.DEFINE_bool("answer", True, "Answer the prompts; otherwise only losses are computed.")
QUANTIZE = flags.DEFINE_enum("quantize", None, QUANTIZED, "Form of the weights that answer; as trained if absent.")
TABLES = flags.DEFINE_bool("quantize_tables", False, "Bring the tables of text and speech ids to int8.")


def main() -> None:
    """Runs the command."""
    workdir = open_workdir(WORKDIR.value)
    file = workdir / "config.json"
    if CONFIG.value is None and not file.exists():
        raise InputError(
            f"--workdir={workdir}: holds no run: {file.name} is missing; give a --config and a --checkpoint"
        )
    checkpoint = resolve(CHECKPOINT.value or workdir)  # before data are made
    config = json.loads(file.read_text()) if CONFIG.value is None else CONFIG.value
    run = start(config, workdir, DATA_DIR.value, SPLIT.value)
    params, _ = load_params(checkpoint, recipe_of(run).abstract())
    scores = losses(run, params)
    if not scores:
        raise InputError(f"{workdir}: no set of the run has rows to evaluate on; set eval_path or eval_split of one")
    quantize = cast(Quantized | None, QUANTIZE.value)
    if quantize is not None or TABLES.value:
        for name, found in divergences(run, params, quantize, TABLES.value):
            scores |= {f"{name}/{key}": value for key, value in found.items()}
    if ANSWER.value:
        for name, found in answers(run, params, MOST.value, quantize, TABLES.value):
            scores |= {f"{name}/{key}": value for key, value in found.items()}
    print(json.dumps(dict(sorted(scores.items())), indent=2))


if __name__ == "__main__":
    cli.run(main)
