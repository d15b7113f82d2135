"""The page and the figures of a post-training recipe."""

import json
from pathlib import Path

import pytest
from html_page import Page
from report_example import recipe_example

from fac_jax.evaluation.reports.post_training import write_post_training
from fac_jax.types import PREFERENCE_TASKS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "report.html"
    write_post_training(path, recipe_example())
    return path


def test_the_page_is_whole_and_needs_nothing_beside_it(written: Path) -> None:
    page = Page(written.read_text())
    assert page.open == []
    sources = [a.get("src") or a.get("href") for _, a in page.tags if "src" in a or "href" in a]
    assert sources and all(str(source).startswith("data:") for source in sources)
    assert len(page.all("audio")) == 2 + 2  # questions, and the spoken replies before and after
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert not page.all("script") and "alert(1)" in "".join(page.text)
    text = " ".join("".join(page.text).split())
    for words in (
        "text pretraining",
        "heard, answered",
        "Better reply: slow",
        "Before: nothing",
        "95.0 %",
        "20 min 34 s",
    ):
        assert words in text
    assert len(page.all("svg")) == 2  # losses of the one stage that trained, and the merge's trade


def test_the_figures_are_plain_json(written: Path) -> None:
    figures = json.loads(written.with_suffix(".json").read_text())
    assert set(figures["stages"]) == {"text_pretraining", "stage1", "merge"}
    assert figures["stages"]["stage1"]["text_accuracy"] == 0.5
    assert set(figures["alpha_sweep"]) == {"0", "0.5", "1"}
    assert set(figures["preference"]) == set(PREFERENCE_TASKS)
    assert figures["preference"]["empathy"]["before"] == 0.5 and figures["preference"]["empathy"]["after"] == 0.95
    assert figures["seconds"] == {"stage1": 61.0, "merge": 1.0} and figures["seconds_total"] == 1234.5


def test_a_report_without_preferences_stands(tmp_path: Path) -> None:
    bare = recipe_example(preference={}, exchanges=[], sweep={})
    write_post_training(tmp_path / "report.html", bare)
    assert Page((tmp_path / "report.html").read_text()).open == []
