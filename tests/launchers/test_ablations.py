"""The shipped ablations: that they can be run, and the page that is made of them."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
from comparison_example import make_run
from launchers import imported
from record_run import write_initial

from experiments.comparing.variants import read_runs, variants
from experiments.run.config import resolve_config
from experiments.sweeps.config import SweepConfig, read_sweep
from experiments.sweeps.runs import Run, changed, load_config, make_runs
from fac_jax.evaluation.reports.comparison import Estimate

CONFIGS = Path(__file__).parents[2] / "experiments" / "configs" / "ablations"
NAMES = sorted(file.stem for file in CONFIGS.glob("*.py") if file.stem != "__init__")


class Planned(NamedTuple):
    """A sweep and its runs."""

    name: str
    sweep: SweepConfig
    runs: list[Run]


@pytest.fixture(scope="module")
def ablations() -> Iterator[ModuleType]:
    with imported("experiments.ablations") as module:
        yield module


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a quickstart is finished, from which some sweeps go on."""
    home = tmp_path_factory.mktemp("finished")
    write_initial(home / "runs" / "quickstart" / "ears")
    return home


@pytest.fixture(scope="module", params=NAMES)
def planned(request: pytest.FixtureRequest, finished: Path) -> Planned:
    with contextlib.chdir(finished):
        sweep = read_sweep(load_config(str(CONFIGS / f"{request.param}.py")))
        return Planned(request.param, sweep, make_runs(sweep, resolve_config))


def test_every_ablation_can_be_run_and_compares_what_it_expects(planned: Planned, ablations: ModuleType) -> None:
    name, runs = planned.name, planned.runs
    found = {run.name.rsplit(",seed=", 1)[0] for run in runs}
    assert len(runs) == len(found) * {"smallest": 2, "refined_head": 5}.get(name, 3)
    ablation = next((one for one in ablations.ABLATIONS if one.name == name), None)
    assert (ablation is None) == (name == "smallest")
    if ablation is not None:
        expected = {variant for one in ablation.expects for variant in (one.greater, one.less)}
        assert {ablation.baseline, *expected} <= found


def test_what_an_ablation_leaves_out_is_in_the_recipe(
    planned: Planned, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A weight of 0 for a set that no mixture has would change nothing, and no check would refuse it."""
    monkeypatch.chdir(finished)
    sweep = planned.sweep
    base = changed(load_config(sweep.config), dict(sweep.fixed))
    mixtures = {stage.name: stage.data.sources for stage in resolve_config(base).stages}
    for run in planned.runs:
        for key, value in run.changes.items():
            words = key.split(".")
            if words[2:4] == ["data", "mixture"]:
                assert value == 0 and words[4] in mixtures[words[1]], key


def test_the_page_says_what_was_expected_and_what_came(tmp_path: Path, ablations: ModuleType) -> None:
    ablation = ablations.Ablation(
        "size",
        "Size",
        ("s2t_accuracy",),
        "k=5",
        (
            ablations.Expectation("s2t_accuracy", "k=5", "k=1"),
            ablations.Expectation("s2t_accuracy", "k=1", "k=5"),
            ablations.Expectation("s2t_accuracy", "k=5", "k=5"),
            ablations.Expectation("s2t_accuracy", "k=5", "k=9"),
            ablations.Expectation("flops", "k=1", "k=5"),
        ),
    )
    for size, right in ((1, 0.4), (5, 0.9)):
        for seed in (0, 1, 2):
            make_run(tmp_path / "size" / f"k={size},seed={seed}", size, seed, right, label=f"k={size}")
    (tmp_path / "size" / "sweep.json").write_text("{}")
    text = ablations.section(ablation, *ablations.compared(ablation, tmp_path / "size"))
    assert (
        text.startswith("### Size\n") and "| s2t_accuracy |" in text and "reply_wer" not in text and "| FLOPs |" in text
    )
    met, other, undecided, cheaper = (line for line in text.splitlines() if line.startswith("- "))
    assert "than for `k=1`: met, +0." in met and met.endswith("3 seeds.")
    assert "**the other way round**, -0." in other and "**not decided**, +0 [0, 0], 3 seeds." in undecided
    assert "`flops` greater for `k=1` than for `k=5`: met, +8e+11" in cheaper


def test_a_difference_that_is_not_decided_says_how_many_seeds_it_needs(ablations: ModuleType) -> None:
    def needed(mean: float, spread: float | None) -> str:
        return ablations.needed(Estimate(mean, spread, -1.0, 1.0, 3, 40))

    assert needed(0.1, 0.1).endswith("would need about 8")  # (1.960 + 0.842)^2 = 7.85
    assert needed(0.1, 0.01).endswith("would need about 4") and needed(0.1, None) == ""
    assert needed(0.001, 0.1).endswith("more than 1,000 would be needed")


def test_what_was_not_run_stays_on_the_page(tmp_path: Path, ablations: ModuleType) -> None:
    page = tmp_path / "page.md"
    sections = [[mark.format(one.name) for mark in ablations.MARKS] for one in ablations.ABLATIONS]
    page.write_text("before\n" + "".join(f"{begin}\nold\n{end}\n" for begin, end in sections) + "after\n")
    old = page.read_text()
    first = ablations.ABLATIONS[0]
    ablations.write_page(tmp_path / "nothing", page, first)
    assert page.read_text() == old
    make_run(tmp_path / "group_size" / "group_size=5,seed=0", 5, 0, 0.9, label="group_size=5")
    (tmp_path / "group_size" / "sweep.json").write_text("{}")
    ablations.write_page(tmp_path, page, first)
    begin, end = sections[0]
    assert page.read_text().startswith(f"before\n{begin}\n### Group size k\n")
    assert page.read_text().endswith(f"{end}\n" + old.partition(f"{end}\n")[2])


def test_every_ablation_has_its_place_on_the_page(ablations: ModuleType) -> None:
    text = ablations.PAGE.read_text()
    for one in ablations.ABLATIONS:
        begin, end = (mark.format(one.name) for mark in ablations.MARKS)
        assert text.count(begin) == text.count(end) == 1 and text.index(begin) < text.index(end)


def test_variants_of_sweeps_keep_their_names(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", 1, 0, 0.5, label="head=without-pre-training")
    assert variants(read_runs([run]))[0].name == "head=without-pre-training"
