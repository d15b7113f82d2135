"""Runs the shipped ablations and rebuilds their page from the runs' own JSON.

python -m experiments.ablations [--workdir runs/ablations] [--page_only] NAME ..

Every ablation is a sweep of `experiments/configs/ablations/`; finished runs are skipped. Its section of the page,
docs/results.md, is written anew between its marks, and says of each expectation whether it was met. Sections of
other ablations, and of those that have no finished run in the workdir, stay as they are.
"""

import dataclasses
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import flags
from scipy.stats import norm

from experiments.comparing.page import between, make_comparison, markdown, rows
from experiments.comparing.variants import Variant, difference, find_runs, read_runs, variants
from fac_jax import cli
from fac_jax.evaluation.reports.comparison import Comparison, Estimate, write_comparison
from fac_jax.io import write_text
from fac_jax.types import PREFERENCE_TASKS, InputError

WORKDIR = flags.DEFINE_string("workdir", "runs/ablations", "Folder of the sweeps.")
PAGE_ONLY = flags.DEFINE_bool("page_only", False, "Run nothing; write the sections of what is finished.")

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / "experiments" / "configs" / "ablations"
PAGE = ROOT / "docs" / "results.md"
MOST_SEEDS = 1000  # beyond it, a number of seeds only says that there is no difference to speak of
MARKS = "<!-- ablation {} -->", "<!-- end of ablation {} -->"


@dataclasses.dataclass(frozen=True)
class Expectation:
    """That a figure, or a cost of the record, is greater for one variant than for another, given by their names."""

    figure: str
    greater: str
    less: str


@dataclasses.dataclass(frozen=True)
class Ablation:
    """One of the shipped ablations."""

    name: str
    title: str
    figures: tuple[str, ...]
    baseline: str
    expects: tuple[Expectation, ...]


ABILITIES = ("text", "text_qa", "spoken", "s2s_text", "heard")
STAGE2 = tuple(f"stages.stage2.{name}_accuracy" for name in ABILITIES)
PREFERRED = tuple(f"preference.{task}.after" for task in PREFERENCE_TASKS)
ALPHA = "backbone={:g}"
CALLS = tuple(
    f"scenarios.{name}"
    for name in (
        *("clean_turn.success", "clean_turn.latency_median", "clean_turn.answer", "clean_turn.heard", "pause.success"),
        *("interruption.success", "interruption.answer", "backchannel.success", "side_talk.success", "echo.success"),
    )
)
TURNS = tuple(f"skills.full duplex.{name}.exact" for name in ("text_qa", "s2t", "s2s"))

ABLATIONS = (
    Ablation(
        "group_size",
        "Group size k",
        STAGE2,
        "group_size=5",
        (
            Expectation("flops", "group_size=1", "group_size=5"),
            Expectation("stages.stage2.heard_accuracy", "group_size=5", "group_size=7"),
        ),
    ),
    Ablation(
        "continuous_encoder",
        "Continuous audio encoder",
        STAGE2,
        "encoder=with",
        (Expectation("stages.stage2.spoken_accuracy", "encoder=with", "encoder=without"),),
    ),
    Ablation(
        "refined_head",
        "Speech Refined Head",
        STAGE2,
        "head=with",
        (
            Expectation("stages.stage2.heard_accuracy", "head=with", "head=without"),
            Expectation("stages.stage2.heard_accuracy", "head=with", "head=without-pre-training"),
        ),
    ),
    Ablation(
        "cocktail_alpha",
        "Core-Cocktail's alpha",
        STAGE2,
        ALPHA.format(0.5),
        (
            Expectation("stages.stage2.text_accuracy", ALPHA.format(0.5), ALPHA.format(1)),
            Expectation("stages.stage2.spoken_accuracy", ALPHA.format(0.5), ALPHA.format(0)),
        ),
    ),
    Ablation(
        "dpo_tasks",
        "Tasks of DPO",
        PREFERRED,
        "tasks=all",
        tuple(Expectation(f"preference.{task}.after", "tasks=all", f"tasks=no-{task}") for task in PREFERENCE_TASKS),
    ),
    Ablation(
        "mode_mixing",
        "Mixing of modes",
        STAGE2,
        "modes=all",
        (
            Expectation("stages.stage2.text_accuracy", "modes=all", "modes=no-text"),
            Expectation("stages.stage2.spoken_accuracy", "modes=all", "modes=no-speech-to-text"),
            Expectation("stages.stage2.s2s_text_accuracy", "modes=all", "modes=no-silent"),
        ),
    ),
    Ablation(
        "dpo_adapter",
        "DPO by an adapter",
        (*PREFERRED, "stages.stage2.text_accuracy", *(f"stages.preference.{name}_accuracy" for name in ABILITIES)),
        "dpo=weights",
        (Expectation("stages.preference.text_accuracy", "dpo=adapter", "dpo=weights"),),
    ),
    Ablation(
        "duplex",
        "Full duplex",
        (*CALLS, *TURNS),
        "change=none",
        (
            Expectation("scenarios.clean_turn.heard", "change=none", "change=without-text"),
            Expectation("scenarios.interruption.success", "change=none", "change=deaf-while-it-talks"),
            Expectation("scenarios.clean_turn.answer", "change=none", "change=without-the-half-duplex-stage"),
            Expectation("skills.full duplex.text_qa.exact", "change=none", "change=calls-alone"),
            Expectation("scenarios.clean_turn.latency_median", "change=delay-2", "change=none"),
            Expectation("scenarios.clean_turn.heard", "change=none", "change=delay-0"),
            Expectation("scenarios.echo.success", "change=none", "change=without-echo"),
        ),
    ),
)


def section(ablation: Ablation, found: Sequence[Variant], comparison: Comparison) -> str:
    """Returns the section of the page about an ablation."""
    costs = [name for name in comparison.costs if name != "minutes"]  # runs get stages that others took minutes for
    table = [row for row in rows(comparison) if row[0] in ("", *ablation.figures, *costs)]
    config = f"`experiments/configs/ablations/{ablation.name}.py`"
    lines = [f"### {ablation.title}", "", config, "", markdown(table), ""]
    return "\n".join([*lines, *verdicts(ablation, found)])


def verdicts(ablation: Ablation, found: Sequence[Variant]) -> Iterator[str]:
    """Yields a sentence for each expectation whose variants have finished runs."""
    by_name = {variant.name: variant for variant in found}
    for one in ablation.expects:
        if one.greater not in by_name or one.less not in by_name:
            continue
        gain = difference(by_name[one.greater], by_name[one.less], one.figure)
        if gain is None or gain.low is None:
            continue
        met = ("met" if gain.mean > 0 else "**the other way round**") if gain.significant else "**not decided**"
        yield (
            f"- Expected: `{one.figure}` greater for `{one.greater}` than for `{one.less}`: {met}, "
            f"{gain.mean:+.3g} [{gain.low:.3g}, {gain.high:.3g}], {gain.seeds} seeds"
            f"{'' if gain.significant else needed(gain)}."
        )


def needed(gain: Estimate) -> str:
    """Returns how many seeds would decide a difference of that size and spread between seeds, with 80 % power.

    The number is that of a two-sided test of a normal mean at 5 %: `((z_0.975 + z_0.8) * spread / mean)^2`.
    """
    if not gain.mean or gain.spread is None:
        return ""
    seeds = math.ceil((float(norm.ppf(0.975) + norm.ppf(0.8)) * gain.spread / gain.mean) ** 2)
    if seeds > MOST_SEEDS:
        return f"; more than {MOST_SEEDS:,} would be needed"
    return f"; a difference of this size and spread would need about {max(seeds, gain.seeds + 1)}"


def compared(ablation: Ablation, folder: Path) -> tuple[list[Variant], Comparison]:
    """Compares the finished runs of an ablation with its baseline, or with the first variant if that has no run."""
    found = variants(read_runs(find_runs([folder])))
    there = ablation.baseline in [variant.name for variant in found]
    return found, make_comparison(found, ablation.baseline if there else None)


def write_page(folder: Path, page: Path, ablation: Ablation) -> None:
    """Rebuilds the section and the report of an ablation, if it has finished runs.

    Raises:
      InputError: the page has no marks for it; or see `read_runs`.
    """
    sweep = folder / ablation.name
    if not any(sweep.glob("*/report.json")):
        return
    found, comparison = compared(ablation, sweep)
    write_comparison(sweep / "comparison" / "report.html", comparison)
    begin, end = (mark.format(ablation.name) for mark in MARKS)
    write_text(page, between(page.read_text(), begin, end, section(ablation, found, comparison)))


def swept(name: str, folder: Path) -> bool:
    """Runs the sweep of an ablation; returns whether all its runs finished."""
    command = [sys.executable, "-m", "experiments.sweep", f"--config={CONFIGS / name}.py", f"--workdir={folder / name}"]
    shared = [f"--config.{key}={folder / kind}" for key, kind in (("data_dir", "data"), ("stages_dir", "stages"))]
    return subprocess.run([*command, *shared], cwd=ROOT, check=False).returncode == 0


def main(*names: str) -> None:
    """Runs the command for the ablations NAMES."""
    known = {ablation.name: ablation for ablation in ABLATIONS}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"{unknown[0]}: no such ablation; known: {', '.join(known)}")
    folder, failed = Path(WORKDIR.value).absolute(), []
    for name in names:
        if not PAGE_ONLY.value and not swept(name, folder):
            failed.append(name)
        write_page(folder, PAGE, known[name])
    if failed:
        print(f"sweeps with runs that failed: {', '.join(failed)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main, cli.RESUMES)
