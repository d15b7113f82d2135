"""From a checkpoint and data sets in their official layouts to scores: every step goes on after what it has done."""

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from etils import epath

from data_pipelines.benchmarks import table as data_sets
from data_pipelines.benchmarks.items import ItemSet, require_audio
from data_pipelines.benchmarks.loading import AbsentError
from experiments.scoring.answering import MOST_STEPS, PREDICTIONS, Answering, answer, answered, check_how, file_of, join
from experiments.scoring.config import ScoringConfig
from experiments.scoring.page import examples, write_report
from experiments.scoring.scoring import score_set
from fac_jax.api import Model
from fac_jax.checkpoint.adapters.load import find_adapter
from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Rules
from fac_jax.evaluation.benchmarks.benchmark import Benchmark
from fac_jax.evaluation.benchmarks.table import checked_rules, named
from fac_jax.evaluation.reports.benchmarks import Example, Result
from fac_jax.parallel.batches import HostShard
from fac_jax.parallel.hosts import is_first, log, wait
from fac_jax.parallel.kernels import Quantized


@dataclasses.dataclass(frozen=True)
class Source:
    """The model that answers: its name in reports, its checkpoint, the form of its weights, and its adapter."""

    name: str
    checkpoint: epath.Path
    codec: str | None
    quantize: Quantized | None
    quantize_tables: bool
    adapter: str | None = None
    any_base: bool = False

    def load(self) -> Model:
        """Reads the model."""
        forms = self.quantize, self.quantize_tables
        return Model.load(self.checkpoint, self.codec, *forms, self.adapter, self.any_base)

    def identity(self) -> dict[str, Any]:
        """Returns what tells two models apart; a model that is trained anew in the same place has another date."""
        folders = [self.checkpoint, *([] if self.adapter is None else [find_adapter(self.adapter)])]
        files = [file for folder in folders for file in (folder, *folder.iterdir())]
        written = datetime.datetime.fromtimestamp(max(file.stat().mtime for file in files), datetime.UTC)
        weights = self.quantize or "as stored"
        return {
            "checkpoint": str(self.checkpoint),
            "written": written.isoformat(timespec="seconds"),
            "weights": f"{weights}, tables int8" if self.quantize_tables else weights,
            **({} if self.adapter is None else {"adapter": str(find_adapter(self.adapter))}),
        }


@dataclasses.dataclass(frozen=True)
class Task:
    """A benchmark whose rows were found on disk, and the rules of its scorer."""

    benchmark: Benchmark
    rules: Rules
    items: ItemSet


def find(names: Sequence[str], data: Path, rules: Rules | None, most: int | None) -> list[Task]:
    """Returns the benchmarks that are to be evaluated, with their rows.

    Args:
      names: of benchmarks or families; of a family those that are in the folder are taken.
      data: folder of the set; or with a folder in it for each family, such as "voicebench".
      rules: rule set; the default of each benchmark if None.
      most: rows of a set that are taken, from its beginning; all if None.

    Raises:
      InputError: a set is absent or damaged, audio is missing, or a benchmark is unknown or lacks the rules.
    """
    found: list[Task] = []
    for name in names:
        benchmarks = named(name)
        absent: list[AbsentError] = []
        here: list[Task] = []
        for one in benchmarks:
            root = data / one.family
            try:
                items = data_sets.load(one.name, root if root.is_dir() else data)
            except AbsentError as error:
                absent.append(error)
                continue
            chosen, rest = items.items[:most], items.items[len(items.items[:most]) :]
            require_audio(chosen)
            left_out = {**items.left_out, **{item.id: "beyond --most" for item in rest}}
            some = dataclasses.replace(items, items=chosen, left_out=left_out)
            here.append(Task(one, checked_rules(one, rules), some))
        if not here:
            raise absent[0]
        if absent:
            log(f"{name}: {len(absent)} of {len(benchmarks)} sets are not in {data}")
        found += here
    return found


def answer_all(tasks: Sequence[Task], source: Source, how: Answering, out: Path) -> None:
    """Answers the rows of this host that have no answer yet; the first host joins the answers of all.

    Raises:
      InputError: as `answering.answer`; or a folder holds answers that were made in another way.
    """
    shard = HostShard(jax.process_index(), jax.process_count())
    made = source.identity() | dataclasses.asdict(how)
    model: Model | None = None
    for task in tasks:
        folder = out / task.benchmark.name
        if is_first():
            folder.mkdir(parents=True, exist_ok=True)
            check_how(folder, made)
        wait(f"folder of {task.benchmark.name}")
        done = answered(file_of(folder, shard)).keys() | answered(folder / PREDICTIONS).keys()
        mine = task.items.items[shard.host :: shard.hosts]
        if any(item.id not in done for item in mine):
            model = model or source.load()
            answer(model, task.benchmark, task.items.items, how, folder, shard)
        wait(f"answers of {task.benchmark.name}")
        if is_first():
            join(task.items.items, folder, shard.hosts)


def score_all(
    tasks: Sequence[Task],
    source: Source,
    how: Answering,
    config: ScoringConfig,
    assets: Assets,
    assets_folder: Path | None,
    out: Path,
    note: str = "",
) -> list[Result]:
    """Scores the answers of all benchmarks, and writes the report over all results in the folder.

    `note` stands first on its page.
    """
    shown: dict[str, Sequence[Example]] = {}
    results: list[Result] = []
    for task in tasks:
        folder = out / task.benchmark.name
        found = data_sets.load_predictions(task.benchmark.name, folder / PREDICTIONS, task.items)
        said = {**source.identity(), **_decoding(task.benchmark, how), "data set": task.items.revision or "no revision"}
        scored = score_set(task.benchmark, task.rules, found, config, assets, assets_folder, folder, said)
        shown[task.benchmark.name] = examples(scored, found.replies)
        results.append(scored.result)
    write_report(out, f"Benchmarks of {source.name}", shown, note)
    return results


def _decoding(benchmark: Benchmark, how: Answering) -> Mapping[str, str]:
    most = how.max_steps or f"{MOST_STEPS}, or a quarter of the context, if that is less,"
    text = f"greedy text, at most {most} ids"
    if not benchmark.speaks:
        return {"decoding": text}
    speech = how.speech
    drawn = f"temperature {speech.temperature}, top-p {speech.top_p}, repetition penalty {speech.repetition_penalty}"
    return {"decoding": f"{text}; speech with {drawn}, seed {how.seed}"}
