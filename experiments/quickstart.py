"""From nothing to a small model that answers spoken questions aloud, and a page to hear it.

python -m experiments.quickstart --workdir runs/quickstart [--fast] [--config.seed=1]

Data, codec, training, held-out questions, report: see `configs/quickstart.py` for sizes, times and results. Where the
extra `ears` is installed, the encoder starts from Whisper (`configs/quickstart_whisper.py`); EARS=scratch in the
environment asks for ears from nothing. `--fast` runs the same way shortened, to see that all of it works; what it
trains answers nothing.
"""

import os
import sys
from pathlib import Path

import jax
from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags

from experiments.run.cluster import cluster_flags
from experiments.run.ears import check_environment, quickstart_config
from experiments.run.record import RunRecord
from experiments.run.setup import recipe_of, start, train
from experiments.toy.questions import evaluate, world_rows
from experiments.toy.reporting import (
    Clock,
    Reply,
    curves,
    environment,
    folders,
    shortened,
    write_items,
    write_sounds,
)
from experiments.toy.robustness import QUESTIONS, evenly, robustness
from fac_jax import cli
from fac_jax.checkpoint.export import load_params
from fac_jax.evaluation.reports import report
from fac_jax.parallel.hosts import is_first

DEFAULT = str(Path(__file__).parent / "configs" / quickstart_config())
CONFIG = config_flags.DEFINE_config_file("config", DEFAULT, "File of the config; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets; WORKDIR/data if absent.")
JOIN = cluster_flags()
FAST = flags.DEFINE_bool("fast", False, "Few rows, few steps, few questions: shows that it works, not how well.")

SOUNDS = 12  # answers with players on the page
FAST_QUESTIONS = 6


def quickstart(
    config: ConfigDict, workdir: epath.Path, data_dir: epath.PathLike, questions: int | None
) -> report.Report:
    """Runs or resumes the whole way, with so many questions (None: all), and writes `report.html` and `report.json`.

    Raises as `start` and `run_recipe`.
    """
    clock = Clock(workdir / "seconds.json")
    run = start(config, workdir, data_dir)
    recipe, asked = recipe_of(run), world_rows(run, "test")[:questions]
    record = RunRecord(run)
    clock.lap("data and codec")
    trained = train(run, recipe, finished=lambda stage: clock.lap(stage.name))
    params, _ = load_params(trained, recipe.abstract())
    metrics, answers, items = evaluate(params, run, asked, SOUNDS)
    conditions, by_condition = robustness(params, run, evenly(asked, QUESTIONS))
    clock.lap("questions")
    ears = f" but the ears of {run.config.encoder_from}" if run.config.encoder_from else ""
    begun = f"trained from {recipe.initial}" if recipe.initial is not None else f"trained from nothing{ears}"
    found = report.Report(
        title="fac_jax quickstart",
        summary=(
            f"A Fun-Audio-Chat {begun} on synthesized speech. It is asked sums and "
            "differences that nobody has asked it aloud, by voices that it has never heard. Heard means that MFCC and "
            "dynamic time warping find the right reply nearest among all replies of the world."
        ),
        metrics=metrics,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(params)),
        seconds_total=sum(clock.parts.values()),
        stages=[report.Stage(name, seconds, curves(workdir / name)) for name, seconds in clock.parts.items()],
        answers=answers,
        environment=environment(run.config.seed),
        conditions=conditions,
    )
    if is_first():
        report.write_report(workdir / "report.html", found)
        write_items(workdir, items | {f"conditions.{name}": one for name, one in by_condition.items()})
        write_sounds(workdir, [Reply(a.question, a.voice, a.written, a.question_sound, a.reply_sound) for a in answers])
    record.finish(metrics | {f"conditions.{one.name}": one.share for one in conditions})
    return found


def ears_line(encoder: str | None, start: str | None) -> str:
    """Returns where the encoder comes from, in words: from an encoder, or from a model that the run starts from."""
    if start:
        return f"ears: those of {start}"
    if encoder:
        return f"ears: those of {encoder}; EARS=scratch trains ears from nothing"
    if os.environ.get("EARS"):
        return "ears: from nothing, as EARS asks"
    return "ears: from nothing; pip install -e '.[ears]' for those of Whisper, which hear people"


def show(found: report.Report, workdir: epath.Path) -> None:
    """Prints the results."""
    pairs = found.answers[:: max(len(found.answers) // 5, 1)]  # in the test's order, a sum is asked six times in turn
    for answer in pairs[:5]:
        print(f"  {answer.question!r} -> {answer.written!r}, heard as {answer.heard!r}")
    for name, value in found.metrics.items():
        print(f"{name:24s} {value:.3f}")
    for one in found.conditions:
        print(f"{one.name:32s} {one.share:.3f}  [{one.interval[0]:.3f}, {one.interval[1]:.3f}]")
    print(f"{'seconds_total':24s} {found.seconds_total:.0f}\nlisten: {workdir / 'report.html'}")


def main() -> None:
    """Runs the command."""
    check_environment()
    JOIN()
    workdir, data_dir = folders(WORKDIR.value, DATA_DIR.value)
    config = CONFIG.value
    if is_first():
        print(ears_line(config.model.encoder_from, config.model.init_from), file=sys.stderr)
    if FAST.value:
        config = shortened(config)
    found = quickstart(config, workdir, data_dir, FAST_QUESTIONS if FAST.value else None)
    if is_first():
        show(found, workdir)


if __name__ == "__main__":
    cli.run(main, cli.RESUMES)
