"""Trains the stages of a config in a workdir; resumes where an earlier start stopped.

python -m experiments.train --config experiments/configs/quickstart.py --workdir runs/mine [--config.seed=1]
python -m experiments.train --config experiments/configs/quickstart.py --config.model.group_size=1 --show_config

On several hosts start it once on each, with --cluster: docs/scaling.md.
"""

import json

from absl import flags
from ml_collections import config_flags

from experiments.run.cluster import cluster_flags
from experiments.run.config import resolve_config, shown_config
from experiments.run.record import RunRecord
from experiments.run.setup import recipe_of, start, train
from fac_jax import cli
from fac_jax.training.profile import ProfileWindow
from fac_jax.types import InputError

CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; holds its config, stages and models.")
SHOW = flags.DEFINE_bool("show_config", False, "Print the whole resolved config as JSON, and make nothing.")
JOIN = cluster_flags()
DATA_DIR = flags.DEFINE_string("data_dir", "runs/data", "Folder of data sets, shared between runs.")
PROFILE = flags.DEFINE_string("profile", None, "START:STEPS, steps of every stage that are traced for XProf.")
PEAK = flags.DEFINE_float(
    "peak_tflops", None, "TFLOP/s that one device can do, for the MFU; a table's if absent.", lower_bound=0
)


def main() -> None:
    """Runs the command."""
    if SHOW.value:
        print(json.dumps(shown_config(CONFIG.value), indent=2))
        return
    if not WORKDIR.value:
        raise InputError("--workdir is missing: a folder for the run")
    config = CONFIG.value
    profile = None if PROFILE.value is None else ProfileWindow.parse(PROFILE.value)
    if profile is not None and profile.start > (most := max(stage.steps for stage in resolve_config(config).stages)):
        raise InputError(f"--profile={PROFILE.value}: no stage has more than {most} steps")
    JOIN()
    run = start(config, WORKDIR.value, DATA_DIR.value)
    recipe = recipe_of(run)
    record = RunRecord(run)
    peak_flops = PEAK.value and PEAK.value * 1e12
    trained = train(run, recipe, peak_flops=peak_flops, profile=profile)
    record.finish({})
    print(f"model: {trained}")


if __name__ == "__main__":
    flags.mark_flag_as_required("config")
    cli.run(main, cli.RESUMES)
