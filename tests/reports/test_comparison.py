"""Variants of runs, their intervals, and the page that shows them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from absl import flags
from comparison_example import QUESTIONS, make_run, make_runs
from html_page import Page
from launchers import imported

from experiments.comparing.page import long_rows, make_comparison, rows
from experiments.comparing.variants import Variant, difference, estimate, find_runs, read_runs, variants
from fac_jax.evaluation.reports.comparison import Estimate, Figure, constant_metrics, pareto_front, write_comparison
from fac_jax.evaluation.reports.pages.figures import curves_svg, styles, trade_svg
from fac_jax.types import InputError

ACCURACY = "s2t_accuracy"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def found(runs: list[Path]) -> list[Variant]:
    return variants(read_runs(runs))


def test_runs_of_one_config_but_for_the_seed_are_a_variant(found: list[Variant]) -> None:
    assert [(one.name, [run.seed for run in one.runs]) for one in found] == [
        ("group_size=1", [0, 1, 2]),
        ("group_size=5", [0, 1, 2]),
    ]


def test_intervals_hold_the_mean_and_pairs_are_surer_than_runs_alone(found: list[Variant]) -> None:
    one, five = (estimate(variant, ACCURACY) for variant in found)
    assert one.seeds == 3 and one.items == QUESTIONS
    assert one.low is not None and one.high is not None and one.low < one.mean < one.high
    gain = difference(found[1], found[0], ACCURACY)
    assert gain is not None and gain.mean == pytest.approx(five.mean - one.mean) and gain.significant
    assert gain == difference(found[1], found[0], ACCURACY), "the same every time"
    assert gain.low is not None and gain.high is not None and five.low is not None and five.high is not None
    assert gain.high - gain.low < (one.high - one.low) + (five.high - five.low)


def test_a_bootstrap_over_questions_is_as_wide_as_statistics_say(tmp_path: Path) -> None:
    """One seed of a share: 1.96 standard errors of a binomial on both sides."""
    run = make_run(tmp_path / "a", 1, 0, 0.5)
    here = estimate(variants(read_runs([run]))[0], ACCURACY)
    error = 1.96 * np.sqrt(here.mean * (1 - here.mean) / QUESTIONS)
    assert here.low == pytest.approx(here.mean - error, abs=0.03) and here.high == pytest.approx(
        here.mean + error, abs=0.03
    )
    assert here.spread is None


def test_seeds_widen_an_interval_of_questions(tmp_path: Path) -> None:
    """Seeds that differ by far more than their questions do set the width."""
    far = variants(read_runs([make_run(tmp_path / f"f{s}", 1, s, right) for s, right in enumerate((0.02, 0.5, 0.98))]))
    near = variants(read_runs([make_run(tmp_path / f"n{s}", 1, s, 0.5) for s in range(3)]))
    wide, narrow = estimate(far[0], ACCURACY), estimate(near[0], ACCURACY)
    assert wide.low is not None and wide.high is not None and narrow.low is not None and narrow.high is not None
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_figures_without_questions_are_drawn_by_seed(found: list[Variant]) -> None:
    here = estimate(found[0], "reply_wer")
    assert here.items == 1 and here.low == pytest.approx(0.1) and here.high == pytest.approx(0.12)
    gain = difference(found[1], found[0], "reply_wer")
    assert gain is not None and gain.low == gain.high == pytest.approx(0.4)


def test_variants_that_share_no_seed_have_no_difference(tmp_path: Path) -> None:
    pair = [make_run(tmp_path / "a", 1, 0, 0.5), make_run(tmp_path / "b", 5, 1, 0.5)]
    one, five = variants(read_runs(pair))
    assert difference(five, one, ACCURACY) is None
    assert estimate(one, "reply_wer").low is None, "one seed and no questions: nothing to draw"


def test_a_sweep_stands_for_its_finished_runs_by_their_names(tmp_path: Path) -> None:
    for size in (1, 5):
        make_run(tmp_path / f"k={size},seed=0", size, 0, 0.5, label=f"head=on,k={size}")
    (tmp_path / "sweep.json").write_text("{}")
    (tmp_path / "k=7,seed=0").mkdir()
    (tmp_path / "k=7,seed=0" / "record.json").write_text('{"finished": null}')
    names = [variant.name for variant in variants(read_runs(find_runs([tmp_path])))]
    assert names == ["head=on,k=1", "head=on,k=5"]


def test_one_seed_twice_is_refused(tmp_path: Path) -> None:
    twice = [make_run(tmp_path / name, 1, 0, 0.5) for name in "ab"]
    with pytest.raises(InputError, match="one config and one seed, 0; leave one out"):
        variants(read_runs(twice))
    empty = tmp_path / "sweep"
    empty.mkdir()
    (empty / "sweep.json").write_text("{}")
    with pytest.raises(InputError, match="no run of this sweep is finished"):
        find_runs([empty])


def test_the_front_holds_what_no_other_beats() -> None:
    points = {"a": (1.0, 0.5), "b": (2.0, 0.4), "c": (3.0, 0.9), "d": (3.0, 0.8), "e": (9.0, 0.9)}
    assert pareto_front(points) == ["a", "c"]


def test_metrics_that_never_change_are_constant() -> None:
    def both(metric: str, one: float, two: float, spread: float | None) -> list[Figure]:
        return [
            Figure(metric, name, Estimate(mean, spread, None, None, 3, 1)) for name, mean in (("a", one), ("b", two))
        ]

    rows = [*both("labels", 5, 5, 0.0), *both("alike", 5, 5, 0.1), *both("loss", 1, 2, 0.0), *both("once", 7, 7, None)]
    assert constant_metrics(rows) == ["labels", "once"]
    assert constant_metrics(rows[:1]) == [], "a single variant is shown whole"


def test_a_variant_has_one_colour_in_all_figures() -> None:
    names = [f"variant {i}" for i in range(8)]
    shown = styles(names)
    assert len({tuple(style.values()) for style in shown.values()}) == len(names)
    curve = curves_svg("c", {names[7]: ([0, 1], [2.0, 1.0])}, "loss", shown=shown)
    trade = trade_svg("t", {name: (i, i) for i, name in enumerate(names)}, names[:1], "cost", "value", shown)
    assert shown[names[7]]["color"] in curve and all(style["color"] in trade for style in shown.values())


def test_the_tables_say_what_the_page_says(found: list[Variant]) -> None:
    comparison = make_comparison(found, "group_size=1")
    table = rows(comparison)
    assert table[0] == ["", "group_size=1 (3)", "group_size=5 (3)"]
    assert [row[0] for row in table[1:]] == [
        ACCURACY,
        "reply_wer",
        "FLOPs",
        "minutes",
        "tokens",
        "audio hours",
        "peak GiB",
    ]
    assert table[1][2].endswith(" *") and "*" not in table[1][1]
    assert table[3] == ["FLOPs", "1e+12", "2e+11"]
    long = long_rows(comparison)
    assert len(long) == 1 + 2 * 2 and float(long[1][2]) == estimate(found[0], ACCURACY).mean
    assert comparison.differences == {"model.group_size": {"group_size=1": "1", "group_size=5": "5"}}
    assert comparison.trades[0].front == ["group_size=5"], "better and cheaper"
    with pytest.raises(InputError, match="no such variant; there are group_size=1; group_size=5"):
        make_comparison(found, "k=1")


def test_the_page_is_whole_and_needs_nothing_beside_it(found: list[Variant], tmp_path: Path) -> None:
    write_comparison(tmp_path / "report.html", make_comparison(found))
    page = Page((tmp_path / "report.html").read_text())
    assert page.open == []
    sources = [a.get("src") or a.get("href") for _, a in page.tags if "src" in a or "href" in a]
    assert sources and all(str(source).startswith("data:") for source in sources)
    assert len(page.all("audio")) == 2 + 2, "two prompts; the replies of both variants to the first"
    assert len(page.all("svg")) == 1 + 1, "one trade, one stage"
    assert len(page.all("mark")) >= 2, "the key that differs and a sure difference"
    assert len(page.all("script")) == 1, "hostile words are words"
    assert json.loads((tmp_path / "report.json").read_text())["baseline"] == "group_size=1"


def test_the_command_writes_page_and_tables(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with imported("experiments.compare") as compare:
        flags.FLAGS(["compare", f"--out={tmp_path}", "--format=csv"])
        compare.main(*map(str, runs))
    said = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert said == list(csv.reader((tmp_path / "table.csv").read_text().splitlines())) and said[0][:3] == [
        "metric",
        "variant",
        "mean",
    ]
    assert {file.name for file in tmp_path.iterdir()} == {"table.md", "table.csv", "report.html", "report.json"}
