"""Trains a model to take part in calls, and scores it: in twelve scenarios, and in turns, which it took before.

python -m experiments.full_duplex --config experiments/configs/duplex_toy.py:runs/duplex/data --workdir runs/duplex \
    --data_dir runs/quickstart/data --config.model.init_from=runs/quickstart --half_duplex=runs/quickstart

The scenarios lie beside the calls that the config trains on. Next to the stages, the workdir gets report.html and
report.json (docs/duplex.md). A run that was stopped goes on where it was. --half_duplex names the model of the
baselines, which answers in turns too; --nosweeps leaves other settings of eagerness out. On several hosts train with
experiments.train, and score what was trained with experiments.score_calls.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags

import fac_jax
from experiments.calls.evaluation import items
from experiments.calls.report import Settings, write_report
from experiments.calls.scripted import SCENARIOS, read_scenarios
from experiments.run.config import resolve_config
from experiments.run.data import Run
from experiments.run.record import RunRecord
from experiments.run.scores import answers
from experiments.run.setup import recipe_of, start, train
from experiments.toy.reporting import write_items
from fac_jax import cli
from fac_jax.checkpoint.export import load_params
from fac_jax.checkpoint.opened import find_model, open_model
from fac_jax.evaluation.reports.calls import Skills
from fac_jax.types import InputError

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", "runs/data", "Folder of data sets, shared between runs.")
HALF_DUPLEX = flags.DEFINE_string("half_duplex", None, "Finished half-duplex model of the baselines; none if absent.")
ROWS = flags.DEFINE_integer("rows", None, "Calls of each scenario; all if absent.", 1)
SWEEPS = flags.DEFINE_bool("sweeps", True, "Run some calls at other settings of eagerness too.")


def scenarios_of(config: ConfigDict) -> Path:
    """Returns the folder of the scenarios that were made with the calls of a config.

    Raises:
      InputError: the config has no set of calls.
    """
    sets = resolve_config(config).data.sets
    if "calls" not in sets or sets["calls"].path is None:
        raise InputError("the config has no set data.sets.calls, whose folder has the scenarios beside it")
    return Path(sets["calls"].path).parent


def half_duplex_skills(run: Run, folder: str) -> Skills:
    """Returns what a half-duplex model answers to the run's held-out rows."""
    params, config = open_model(folder)
    other = dataclasses.replace(run, config=dataclasses.replace(run.config, model=config))
    return dict(answers(other, jax.tree.map(jnp.asarray, params)))


def main() -> None:
    """Runs the command."""
    config, calls = CONFIG.value, scenarios_of(CONFIG.value)
    scripted = read_scenarios(calls, SCENARIOS, ROWS.value)
    if HALF_DUPLEX.value is not None:
        find_model(HALF_DUPLEX.value)  # refused before the training; it is read after it
    run = start(config, WORKDIR.value, DATA_DIR.value)
    recipe, record = recipe_of(run), RunRecord(run)
    trained = train(run, recipe)
    params, _ = load_params(trained, recipe.abstract())
    skills: dict[str, Skills] = {"full duplex": dict(answers(run, params))}
    half_duplex = None
    if HALF_DUPLEX.value is not None:
        skills["half duplex"] = half_duplex_skills(run, HALF_DUPLEX.value)
        half_duplex = fac_jax.load(HALF_DUPLEX.value)
    settings = Settings() if SWEEPS.value else Settings(start=(), stop=())
    model, out = fac_jax.load(trained), Path(WORKDIR.value)
    found = write_report(WORKDIR.value, model, half_duplex, calls, scripted, out, settings, skills)
    write_items(epath.Path(out), items(scripted, found.own, model))
    shares = {f"scenarios.{name}.success": one.success.value for name, one in found.scenarios.items()}
    record.finish(shares)


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main, cli.RESUMES)
