"""The page of a comparison in a real browser: Debian's chromium, driven by Playwright."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from comparison_example import make_runs
from playwright.sync_api import Browser, Page

from experiments.comparing.page import make_comparison
from experiments.comparing.variants import read_runs, variants
from fac_jax.evaluation.reports.comparison import write_comparison

pytestmark = pytest.mark.browser
PHONE, DESK = 390, 1280  # CSS pixels


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("comparison")
    write_comparison(folder / "report.html", make_comparison(variants(read_runs(make_runs(folder / "runs")))))
    return folder / "report.html"


@pytest.fixture
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": getattr(request, "param", DESK), "height": 844})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert problems == []


@pytest.mark.parametrize("page", [PHONE, DESK], indirect=True)
def test_nothing_scrolls_sideways(page: Page) -> None:
    width, content = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert content <= width


@pytest.mark.parametrize("page", [PHONE, DESK], indirect=True)
def test_figures_sort_by_value(page: Page) -> None:
    table = page.locator("table.answers").first
    for name in ("Mean", "Difference"):
        cells = table.locator(f"tbody td[data-label={name}]")
        table.get_by_role("button", name=name).click()
        up = [text for text in cells.all_inner_texts() if text != "-"]
        assert [float(text) for text in up] == sorted(float(text) for text in up)
    table.get_by_role("button", name="Mean").click()
    table.get_by_role("button", name="Mean").click()
    down = [float(text) for text in table.locator("tbody td[data-label=Mean]").all_inner_texts()]
    assert down == sorted(down, reverse=True)
    page.locator("table.answers").nth(1).get_by_role("button", name="FLOPs").click()
    variants_ = page.locator("table.answers").nth(1).locator("td[data-label=Variant]").all_inner_texts()
    assert variants_ == ["group_size=5", "group_size=1"]


def test_replies_to_one_prompt_play_side_by_side(page: Page) -> None:
    players = page.locator("article").first.locator("audio")
    assert players.count() == 3
    for player in players.all():
        length, error = player.evaluate(
            """async player => {
                await player.play();
                await new Promise(done => player.addEventListener("timeupdate", done));
                return [player.duration, player.error];
            }"""
        )
        assert error is None and length == pytest.approx(1.2, abs=0.05)


def test_the_column_of_keys_holds_whole_words(page: Page) -> None:
    """A key of this length fits in one line beside the values of two variants."""
    key = page.locator("table.differences tbody td").first
    height, line = key.evaluate("e => [e.clientHeight, parseFloat(getComputedStyle(e).lineHeight)]")
    assert key.inner_text() == "model.group_size" and height < 2 * line
