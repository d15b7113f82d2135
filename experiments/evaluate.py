"""Scores a model of a run on held-out rows, or any model by the benchmarks of the paper.

python -m experiments.evaluate --workdir runs/mine [--checkpoint runs/mine/STAGE] [--split test] [--most 200]
python -m experiments.evaluate --benchmark=voicebench/ifeval --data=DIR --checkpoint=MODEL --out=scores

With --workdir: losses, accuracies and word error rates of any config with rows to evaluate on (docs/finetuning.md), as
JSON. The config is that of the workdir. With --quantize or --quantize_tables the answers are those of quantised weights
(docs/generation.md, "Weights"). Losses are those of the weights as they are, and text_kl and speech_kl say how far the
two are apart.

With --benchmark: a benchmark, a family such as voicebench, or several with commas, whose data sets lie in --data in
their official layouts. The model answers with the paper's prompts and decoding, and is scored by --rules; --out gets
predictions, scores and a report beside the paper's figures. The same command goes on where it stopped. Judges and other
models are chosen by --scoring.KEY=VALUE. docs/evaluation.md explains all of it.
"""

import json
from pathlib import Path
from typing import cast

from absl import flags
from etils import epath
from ml_collections import config_flags

from data_pipelines.paths import check_output
from experiments.run.cluster import cluster_flags
from experiments.run.scores import answers, divergences, losses
from experiments.run.setup import open_workdir, recipe_of, start
from experiments.scoring.answering import Answering
from experiments.scoring.config import ScoringConfig
from experiments.scoring.evaluation import Source, answer_all, find, score_all
from experiments.scoring.page import printed
from experiments.scoring.scoring import check_models
from fac_jax import cli
from fac_jax.checkpoint.adapters.load import adapted
from fac_jax.checkpoint.export import load_params, resolve
from fac_jax.checkpoint.release.load import is_release
from fac_jax.config import from_tree
from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import RULES, Rules
from fac_jax.generation.sampling import Sampling
from fac_jax.parallel.hosts import is_first
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.types import InputError

DEFAULT = str(Path(__file__).parent / "configs" / "scoring.py")
CONFIG = config_flags.DEFINE_config_file("config", help_string="File of the config; that of the workdir if absent.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
DATA_DIR = flags.DEFINE_string("data_dir", "runs/data", "Folder of data sets, shared between runs.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model, stage or checkpoint; the run's last model if absent.")
SPLIT = flags.DEFINE_string("split", None, "Split of the sets that have several; that of the config if absent.")
MOST = flags.DEFINE_integer("most", None, "Rows of a set that are answered, from its beginning; all if absent.", 1)
ANSWER = flags.DEFINE_bool("answer", True, "Answer the prompts; otherwise only losses are computed.")
QUANTIZE = flags.DEFINE_enum("quantize", None, QUANTIZED, "Form of the weights that answer; as trained if absent.")
TABLES = flags.DEFINE_bool("quantize_tables", False, "Bring the tables of text and speech ids to int8.")
ADAPTER = flags.DEFINE_string("adapter", None, "Adapter in PEFT's format, or stage that trained one, to put on.")
ANY_BASE = flags.DEFINE_bool("any_base", False, "Take an adapter that was made for a base with other values.")

BENCHMARK = flags.DEFINE_list("benchmark", None, "Benchmarks or families of them, such as voicebench/ifeval.")
DATA = flags.DEFINE_string("data", None, "Folder of the data sets, or with a folder for each family.")
OUT = flags.DEFINE_string("out", None, "Folder that gets predictions, scores and report.")
RULES_FLAG = flags.DEFINE_enum("rules", None, RULES, "Rule set; the default of each benchmark if absent.")
SCORING = config_flags.DEFINE_config_file("scoring", DEFAULT, "Judge and other models; --scoring.key=value sets one.")
ASSETS = flags.DEFINE_string("assets", None, "Folder of the files of others that some scorers read.")
CODEC = flags.DEFINE_string("codec", None, "Folder of a codec with the same ids; the model's own if absent.")
ROWS = flags.DEFINE_integer("rows", 8, "Rows that are answered side by side.", 1)
MAX_STEPS = flags.DEFINE_integer("max_steps", None, "Most text ids of a reply; 2048, or a quarter of the context.", 1)
TEMPERATURE = flags.DEFINE_float("temperature", 0.8, "Of the speech of spoken replies; text is greedy.", 0.0)
TOP_P = flags.DEFINE_float("top_p", 0.9, "Speech ids are drawn from the likeliest of this probability.", 0.0, 1.0)
PENALTY = flags.DEFINE_float("repetition_penalty", 1.2, "Penalty on speech ids spoken before.", 0.0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.")
PERSONA = flags.DEFINE_string("persona", "", "Text after the system prompt of VStyle; the release's is Chinese.")
NOTE = flags.DEFINE_string("note", "", "What the report says first, such as that the data are no official ones.")
JOIN = cluster_flags()


def main() -> None:
    """Runs the command."""
    if BENCHMARK.value:
        benchmarks(BENCHMARK.value)
    elif WORKDIR.value is not None:
        held_out(open_workdir(WORKDIR.value))
    else:
        raise InputError("give --workdir for the held-out rows of a run, or --benchmark")


def benchmarks(names: list[str]) -> None:
    """Evaluates a model by benchmarks."""
    data, model, out = DATA.value, CHECKPOINT.value or WORKDIR.value, OUT.value
    if data is None or model is None or out is None:
        raise InputError(f"--{'data' if data is None else 'checkpoint' if model is None else 'out'} is missing")
    JOIN()
    check_output("--out", out)
    folder, assets_folder = Path(out), None if ASSETS.value is None else Path(ASSETS.value)
    assets, config = Assets(assets_folder), from_tree(ScoringConfig, SCORING.value.to_dict(), "scoring")
    tasks = find(names, Path(data), cast(Rules | None, RULES_FLAG.value), MOST.value)
    for task in tasks:
        check_models(task.benchmark, task.rules, config, assets, assets_folder, folder / task.benchmark.name)
    checkpoint = epath.Path(model) if is_release(Path(model)) else resolve(model)
    forms = cast(Quantized | None, QUANTIZE.value), TABLES.value
    source = Source(model, checkpoint, CODEC.value, *forms, ADAPTER.value, ANY_BASE.value)
    speech = Sampling(temperature=TEMPERATURE.value, top_p=TOP_P.value, repetition_penalty=PENALTY.value)
    how = Answering(ROWS.value, MAX_STEPS.value, SEED.value, PERSONA.value, speech)
    answer_all(tasks, source, how, folder)
    if is_first():
        found = score_all(tasks, source, how, config, assets, assets_folder, folder, NOTE.value)
        for line in printed(found):
            print(json.dumps(line, ensure_ascii=False))
        print(folder / "report.html")


def held_out(workdir: epath.Path) -> None:
    """Scores a model on the held-out rows of a run."""
    file = workdir / "config.json"
    if CONFIG.value is None and not file.exists():
        raise InputError(
            f"--workdir={workdir}: holds no run: {file.name} is missing; give a --config and a --checkpoint"
        )
    checkpoint = resolve(CHECKPOINT.value or workdir)  # before data are made
    config = json.loads(file.read_text()) if CONFIG.value is None else CONFIG.value
    run = start(config, workdir, DATA_DIR.value, SPLIT.value)
    params, _ = load_params(checkpoint, recipe_of(run).abstract())
    if ADAPTER.value is not None:
        params = adapted(params, run.config.model, ADAPTER.value, ANY_BASE.value)
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
