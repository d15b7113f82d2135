"""Scores predictions of any model by the rules of a benchmark, or recorded outcomes of official scorers anew.

python -m experiments.score predictions.jsonl --benchmark=voicebench/ifeval --rules=official --out=scores
python -m experiments.score --recorded=tests/golden/evaluation
python -m experiments.score --assets_help

A file of predictions has one JSON object a line: the fields of the row and `prediction`, or what the benchmark's own
tool writes. With --data the fields come from the set itself. Judges and other models are chosen by --scoring.KEY=VALUE.
docs/evaluation.md lists benchmarks, rules, fields and keys. Writes scores and a report into --out.

With --recorded, a folder of recorded scorers is scored anew. The exit code is 0 if all is equal, and 1 otherwise.
"""

import json
import sys
from pathlib import Path
from typing import cast

from absl import flags
from ml_collections import config_flags

from data_pipelines.benchmarks import table
from data_pipelines.paths import check_output
from experiments.scoring.config import ScoringConfig
from experiments.scoring.page import examples, printed, write_report
from experiments.scoring.recorded.run import Comparison, compare, folders
from experiments.scoring.scoring import check_models, score_set
from fac_jax import cli
from fac_jax.config import from_tree
from fac_jax.evaluation.benchmarks.assets import JUDGE_PROMPTS, PHRASES, Assets, help_text
from fac_jax.evaluation.benchmarks.base import RULES, Rules
from fac_jax.evaluation.benchmarks.table import checked_rules, named
from fac_jax.types import InputError

DEFAULT = str(Path(__file__).parent / "configs" / "scoring.py")
SCORING = config_flags.DEFINE_config_file("scoring", DEFAULT, "Judge and other models; --scoring.key=value sets one.")
BENCHMARK = flags.DEFINE_string("benchmark", None, "Benchmark, such as voicebench/ifeval.")
RULES_FLAG = flags.DEFINE_enum("rules", None, RULES, "Rule set; the default of the benchmark if absent.")
DATA = flags.DEFINE_string("data", None, "Folder of the set, if the predictions lack its fields.")
OUT = flags.DEFINE_string("out", None, "Folder that gets scores and report.")
ASSETS = flags.DEFINE_string("assets", None, "Folder of the files of others that some scorers read.")
ASSETS_HELP = flags.DEFINE_bool("assets_help", False, "List these files, and where they come from.")
RECORDED = flags.DEFINE_string("recorded", None, "Folder of one recorded scorer or of several.")
JSON = flags.DEFINE_bool("json", False, "Print JSON.")

UNEQUAL = 1


def main(predictions: str | None = None) -> None:
    """Runs the command."""
    if ASSETS_HELP.value:
        print(help_text())
        return
    recorded = RECORDED.value or (predictions if predictions is not None and Path(predictions).is_dir() else None)
    if recorded is not None:
        sys.exit(_recorded(Path(recorded)))
    if predictions is None:
        raise InputError("give a file of predictions, or --recorded")
    _score(Path(predictions))


def _score(file: Path) -> None:
    if BENCHMARK.value is None or OUT.value is None:
        raise InputError(f"--{'benchmark' if BENCHMARK.value is None else 'out'} is missing")
    check_output("--out", OUT.value)
    benchmarks = named(BENCHMARK.value)
    if len(benchmarks) > 1:
        subsets = ", ".join(one.name for one in benchmarks)
        raise InputError(f"--benchmark={BENCHMARK.value}: a file of predictions is of one of {subsets}")
    benchmark = benchmarks[0]
    rules = checked_rules(benchmark, cast(Rules | None, RULES_FLAG.value))
    config = from_tree(ScoringConfig, SCORING.value.to_dict(), "scoring")
    out, folder = Path(OUT.value), None if ASSETS.value is None else Path(ASSETS.value)
    assets, own = Assets(folder), out / benchmark.name
    check_models(benchmark, rules, config, assets, folder, own)
    data = None if DATA.value is None else table.load(benchmark.name, DATA.value)
    found = table.load_predictions(benchmark.name, file, data)
    scored = score_set(benchmark, rules, found, config, assets, folder, own, {"predictions": file.name})
    page = write_report(out, f"Scores of {file.name}", {benchmark.name: examples(scored, found.replies)})
    (line,) = printed([scored.result])
    print(json.dumps(line if JSON.value else line | {"report": str(page)}, ensure_ascii=False))


def _recorded(root: Path) -> int:
    """Compares recorded folders; returns the exit code."""
    found = {folder.name: compare(folder, _assets(folder)) for folder in folders(root)}
    if JSON.value:
        print(json.dumps({name: one.summary() for name, one in found.items()}, indent=1, ensure_ascii=False))
    else:
        for name, one in found.items():
            print(f"{name}: {one.equal} of {one.cases} cases equal{_first(one)}")
    return UNEQUAL if any(one.differences for one in found.values()) else 0


def _first(one: Comparison) -> str:
    if not one.differences:
        return ""
    first = one.differences[0]
    return f"; first difference: {first.id}, {first.field}: expected {first.expected!r}, got {first.got!r}"


def _assets(folder: Path) -> Path | None:
    """Returns the first folder that holds files of others: --assets, the recorded folder, or the one above it."""
    given = None if ASSETS.value is None else Path(ASSETS.value)
    names = (PHRASES.name, JUDGE_PROMPTS.name)
    places = [one for one in (given, folder, folder.parent) if one is not None]
    return next((one for one in places if any((one / name).exists() for name in names)), given)


if __name__ == "__main__":
    cli.run(main)
