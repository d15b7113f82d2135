"""The report: one page that needs nothing beside it, and its figures as JSON."""

import json
import re
from pathlib import Path

import pytest
from html_page import Page
from report_example import example

from fac_jax.evaluation.reports.machine import cpu_model, machine
from fac_jax.evaluation.reports.pages.page import duration, figure, label, signs
from fac_jax.evaluation.reports.report import Condition, Report, evenly_spaced, write_report


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "sub" / "report.html"
    write_report(path, example())
    return path


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text())


def test_page_is_well_formed(page: Page) -> None:
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_page_fetches_nothing(page: Page, written: Path) -> None:
    links = [v for _, attributes in page.tags for k, v in attributes.items() if k.split(":")[-1] in {"src", "href"}]
    assert links and all(v is not None and v.startswith(("data:", "#")) for v in links)
    assert not re.search(r"@import|url\((?!#)", written.read_text())
    assert sorted(p.name for p in written.parent.iterdir()) == ["report.html", "report.json"]


def test_page_holds_players_spectrograms_curves_and_rows(page: Page) -> None:
    assert len(page.all("audio")) == len(page.all("img")) == 2 * 4
    assert all(a["src"].startswith("data:audio/flac;base64,") for a in page.all("audio"))
    assert len(page.all("svg")) == 2
    assert len(page.all("tr")) == (1 + 2) + (1 + 6)
    shown = " ".join(" ".join(page.text).split())
    assert "83.3 %" in shown and "3 seeds: mean 81.7 %, from 80.0 % to 83.3 %" in shown
    assert "1,234,567" in shown and "12 min 05 s" in shown


def test_right_replies_are_marked_for_the_filter_of_wrong_ones(page: Page) -> None:
    assert len([a for a in page.all("input") if a.get("id") == "only-wrong"]) == 1
    assert len([a for a in page.all("article") if "data-right" not in a]) == 1, "the second is written wrong"
    assert len([a for a in page.all("tr") if "data-right" in a]) == 4, "two of six rows are wrong"


def test_conditions_have_their_intervals(written: Path) -> None:
    assert Condition("clean", 95, 100).interval == pytest.approx((0.888, 0.978), abs=1e-3)  # Wilson's, by hand
    assert "88.8 % to 97.8 %" in written.read_text()
    assert json.loads(written.with_suffix(".json").read_text())["conditions"]["clean"] == 0.95


@pytest.mark.parametrize(
    ("count", "total", "chosen"), [(3, 9, {0, 4, 8}), (12, 5, {0, 1, 2, 3, 4}), (1, 9, {0}), (0, 9, set())]
)
def test_questions_with_sounds_are_spread_over_all(count: int, total: int, chosen: set[int]) -> None:
    assert evenly_spaced(count, total) == chosen


def test_the_machine_has_a_name() -> None:
    assert cpu_model() and machine().startswith(cpu_model()) and " cores, " in machine()


def test_text_from_outside_is_escaped(page: Page) -> None:
    assert len(page.all("script")) == 1
    assert any("<script>alert(1)</script>" in text for text in page.text)


def test_json_has_the_metrics_on_top(written: Path) -> None:
    figures = json.loads(written.with_suffix(".json").read_text())
    assert figures["s2s_heard_accuracy"] == pytest.approx(5 / 6)
    assert figures["parameters"] == 1_234_567
    assert figures["seconds_total"] == 725
    assert figures["spread"]["s2s_heard_accuracy"] == {
        "mean": pytest.approx(0.8167, abs=1e-4),
        "min": 0.8,
        "max": 5 / 6,
    }
    assert "s2t_accuracy" not in figures["spread"], "not every seed has it"
    last = figures["answers"][-1]
    assert (last["written_right"], last["heard_right"], last["heard"]) == (True, False, "")


def test_writing_is_reproducible_and_replaces(written: Path) -> None:
    before = written.read_text()
    write_report(written, example())
    assert written.read_text() == before


def test_a_failed_report_leaves_the_old_one(written: Path) -> None:
    before = {p.name: p.read_text() for p in written.parent.iterdir()}
    with pytest.raises(ValueError):
        write_report(written, example(metrics={"s2s_heard_accuracy": float("nan")}))
    assert {p.name: p.read_text() for p in written.parent.iterdir()} == before


def test_an_empty_report_stands(tmp_path: Path) -> None:
    empty = Report("Nothing yet", "", {}, 0, 0.0, [], [], {})
    write_report(tmp_path / "report.html", empty)
    assert Page((tmp_path / "report.html").read_text()).open == []
    assert empty.spread() == {}


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [("s2t_accuracy", 0.9459, "94.6 %"), ("steps_per_second", 12.345, "12.3"), ("s2t_wer", 0.05, "0.05")],
)
def test_figures_for_the_eye(name: str, value: float, shown: str) -> None:
    assert figure(name, value) == shown


def test_names_and_times_for_the_eye() -> None:
    assert label("s2s_heard_accuracy") == "S2S heard"
    assert label("text_qa_accuracy") == "text QA"
    assert [signs(value) for value in (0.0003, 0.94512, 10157301504.0, 2.0)] == ["0.0003", "0.9451", "1.016e+10", "2"]
    assert [duration(s) for s in (3.21, 59.99, 725)] == ["3.2 s", "60.0 s", "12 min 05 s"]
