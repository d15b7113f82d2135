"""The paper's recipe in the toy world, from nothing to preferences, and a page that shows what every stage did.

python -m experiments.post_training --workdir runs/recipe [--fast] [--config.seed=1]

Stages as `configs/recipe_toy.py` lists them, then questions to the models of `questions.stages`, a sweep of the merge
over `questions.alphas`, and, if a stage prefers, held-out pairs before and after it. `--fast` runs the same way
shortened, to see that all of it works.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from absl import flags
from etils import epath
from ml_collections import ConfigDict, config_flags
from rich.console import Console
from rich.table import Table

from data_pipelines.worlds.schema import PairRow
from experiments.run.cluster import cluster_flags
from experiments.run.data import Run
from experiments.run.record import RunRecord, results
from experiments.run.setup import recipe_of, start, train
from experiments.toy.pair_questions import Judged, by_task, judge, preferred
from experiments.toy.questions import Items, abilities, held_out_pairs, world_rows
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
from fac_jax import cli
from fac_jax.checkpoint.export import MODEL, load_params
from fac_jax.evaluation.reports.pages.page import Sound, Stage
from fac_jax.evaluation.reports.post_training import (
    SHOWN,
    Exchange,
    PostTrainingReport,
    to_json,
    write_post_training,
)
from fac_jax.evaluation.reports.post_training import Preference as PreferenceScores
from fac_jax.io import write_text
from fac_jax.losses import Preference
from fac_jax.parallel.hosts import is_first
from fac_jax.training.merge import SHARED_LLM, merge
from fac_jax.training.recipe import Recipe, start_of
from fac_jax.types import PREFERENCE_TASKS, Params

DEFAULT = str(Path(__file__).parent / "configs" / "recipe_toy.py")
CONFIG = config_flags.DEFINE_config_file("config", DEFAULT, "File of the config; --config.key=value changes a key.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets; WORKDIR/data if absent.")
JOIN = cluster_flags()
FAST = flags.DEFINE_bool("fast", False, "Few rows, few steps, few questions: shows that it works, not how well.")

FAST_QUESTIONS = 4
SOUNDS = 2  # exchanges of every task on the page


class Abilities:
    """Accuracies of models by name, kept in files, so that a run that was stopped does not ask again."""

    def __init__(self, workdir: epath.Path, ask: Callable[[Params], tuple[dict[str, float], Items]]) -> None:
        self._found_file, self._items_file, self._ask = workdir / "abilities.json", workdir / "asked_items.json", ask
        files = (self._found_file, self._items_file)
        self._found, self._items = (json.loads(f.read_text()) if f.exists() else {} for f in files)

    def of(self, name: str, params: Params) -> dict[str, float]:
        """Returns what `ask` returns for a model; asks it only once."""
        if name not in self._found:
            print(f"asking {name}", file=sys.stderr)
            self._found[name], self._items[name] = self._ask(params)
            if is_first():
                write_text(self._items_file, json.dumps(self._items, indent=2))
                # Last: what it holds is not asked again.
                write_text(self._found_file, json.dumps(self._found, indent=2))
        return self._found[name]

    def items(self, where: Mapping[str, str]) -> Items:
        """Returns the value of each question by the name of its figure, which begins as `where` says for a model."""
        return {
            f"{begin}.{metric}": values
            for name, begin in where.items()
            for metric, values in self._items.get(name, {}).items()
        }


def post_training(
    config: ConfigDict, workdir: epath.Path, data_dir: epath.PathLike, questions: int | None
) -> PostTrainingReport:
    """Runs or resumes the whole way, with so many questions (None: all), and writes `report.html` and `report.json`.

    Raises as `start` and `run_recipe`.
    """
    clock = Clock(workdir / "seconds.json")
    run = start(config, workdir, data_dir)
    spoken = world_rows(run, "test")[:questions]
    facts = [row for row in world_rows(run, "text") if row.kind == "fact"][:questions]
    recipe, questioned = recipe_of(run), run.config.questions
    record = RunRecord(run)
    clock.lap("data and codec")
    train(run, recipe, finished=lambda stage: clock.lap(stage.name))

    asked = Abilities(workdir, lambda params: abilities(params, run, spoken, facts))
    expected = recipe.abstract()

    def model(name: str) -> Params:
        return load_params(workdir / name / MODEL, expected)[0]

    found = {name: asked.of(name, model(name)) for name in recipe.names if name in questioned.stages}
    clock.lap("questions")
    sweep = {}
    if questioned.alphas:
        trained, known = map(model, merged(recipe))
        for alpha in questioned.alphas:
            sweep[alpha] = asked.of(f"alpha {alpha:g}", merge(trained, known, {SHARED_LLM: alpha}))
        clock.lap("alpha sweep")
    judged = judge_preferences(recipe, run, model)
    if judged:
        clock.lap("preferences")

    report = PostTrainingReport(
        title="Post-training in the toy world",
        summary=(
            "Text-only knowledge is asked for by facts that no stage after text pre-training has a row of. Spoken "
            "questions are sums that no training row asks aloud, by voices of their own. The control is stage 2 "
            "without the merge before it."
        ),
        abilities=found,
        sweep=sweep,
        preference=preferences(held_out_pairs(run), *judged) if judged else {},
        exchanges=list(exchanges(run, *judged)) if judged else [],
        stages=[Stage(name, seconds, curves(workdir / name)) for name, seconds in clock.parts.items()],
        seconds_total=sum(clock.parts.values()),
        environment=environment(run.config.seed),
    )
    places = {name: f"stages.{name}" for name in found} | {f"alpha {a:g}": f"alpha_sweep.{a:g}" for a in sweep}
    if is_first():
        write_post_training(workdir / "report.html", report)
        write_items(workdir, asked.items(places) | (pair_items(held_out_pairs(run), *judged) if judged else {}))
        write_sounds(workdir, [Reply(e.asked, e.task, e.after, e.question, e.sound_after) for e in report.exchanges])
    record.finish(results(to_json(report)))
    return report


def merged(recipe: Recipe) -> tuple[str, str]:
    """Returns the stages whose models the recipe merges: M_1, M_0."""
    stage = next(stage for stage in recipe.stages if stage.merge)
    assert stage.merge is not None and stage.merge.start is not None
    return str(start_of(recipe.stages, stage)), stage.merge.start


def judge_preferences(recipe: Recipe, run: Run, model: Callable[[str], Params]) -> tuple[Judged, Judged] | None:
    """Judges held-out pairs before the stage of preferences and after the merges that follow it; None without one."""
    for stage in recipe.stages:
        if isinstance(stage.loss, Preference):
            before, after = str(start_of(recipe.stages, stage)), recipe.names[-1]
            pairs, loss = held_out_pairs(run), stage.loss
            return judge(model(before), run, pairs, loss), judge(model(after), run, pairs, loss)
    return None


def preferences(rows: Sequence[PairRow], before: Judged, after: Judged) -> dict[str, PreferenceScores]:
    """Returns the scores of both models on the held-out pairs, by task."""
    found = {"before": by_task(rows, preferred(before, before)), "after": by_task(rows, preferred(before, after))}
    for name in ("likely", "right", "exact"):
        found |= {f"{name}_before": getattr(before, name), f"{name}_after": getattr(after, name)}
    return {task: PreferenceScores(**{name: by[task] for name, by in found.items()}) for task in found["after"]}


def pair_items(rows: Sequence[PairRow], before: Judged, after: Judged) -> Items:
    """Returns the share of each held-out pair in `Preference.after` and in `likely_after`."""
    gained = preferred(before, after)
    likely = {name: float(margin > 0) for name, margin in after.margins.items()}
    return {
        f"preference.{task}.{name}": {row.id: values[row.id] for row in rows if row.task == task}
        for task in PREFERENCE_TASKS
        for name, values in (("after", gained), ("likely_after", likely))
    }


def exchanges(run: Run, before: Judged, after: Judged) -> Iterator[Exchange]:
    """Yields the first held-out prompts of every task, with the replies of both models."""
    codec = run.codec
    assert codec is not None

    def sound(units: np.ndarray) -> Sound | None:
        return Sound(codec.decode(units), codec.rate) if units.size else None

    for task in PREFERENCE_TASKS:
        for row in [row for row in held_out_pairs(run) if row.task == task][:SOUNDS]:
            noise = "" if row.snr_db is None else f", noise at {row.snr_db:.0f} dB"
            asked = row.question + (f", {row.instruction}" if row.instruction else "") + noise
            then, now = before.answers[row.id], after.answers[row.id]
            yield Exchange(
                task, asked, row.chosen, Sound(row.user_audio), then.text, now.text, sound(then.units), sound(now.units)
            )


def show(report: PostTrainingReport, workdir: epath.Path) -> None:
    """Prints the results."""
    console = Console(width=120)
    sweep = {f"{alpha:g}": values for alpha, values in report.sweep.items()}
    for head, found in (("model after", report.abilities), ("alpha", sweep)):
        table = Table(head, *SHOWN.values())
        for name, values in found.items():
            table.add_row(name, *(f"{values[key]:.3f}" for key in SHOWN))
        console.print(table)
    names = [field.name for field in dataclasses.fields(PreferenceScores)]
    tasks = Table("held-out pairs", *(name.replace("_", " ") for name in names))
    for task, value in report.preference.items():
        tasks.add_row(task, *(f"{getattr(value, name):.3f}" for name in names))
    console.print(tasks)
    print(f"{'seconds_total':24s} {report.seconds_total:.0f}\nlook: {workdir / 'report.html'}")


def main() -> None:
    """Runs the command."""
    JOIN()
    workdir, data_dir = folders(WORKDIR.value, DATA_DIR.value)
    config = CONFIG.value
    if FAST.value:
        config = shortened(config, pairs={"train": 16, "test": 4})
    report = post_training(config, workdir, data_dir, FAST_QUESTIONS if FAST.value else None)
    if is_first():
        show(report, workdir)


if __name__ == "__main__":
    cli.run(main, cli.RESUMES)
