"""The report in a real browser: Debian's chromium (apt-get install chromium), driven by Playwright."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from report_example import example, recipe_example

from fac_jax.evaluation.reports.post_training import write_post_training
from fac_jax.evaluation.reports.report import write_report

pytestmark = pytest.mark.browser
PHONE, DESK = 390, 1280  # CSS pixels


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, example())
    return path


@pytest.fixture
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    width = getattr(request, "param", DESK)
    page = browser.new_page(viewport={"width": width, "height": 844})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.on("dialog", lambda dialog: (problems.append(dialog.message), dialog.dismiss()))
    page.goto(report.as_uri())
    yield page
    page.close()
    assert problems == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_of_a_recipe_fits_its_screen(browser: Browser, tmp_path: Path, width: int) -> None:
    write_post_training(tmp_path / "recipe.html", recipe_example())
    page = browser.new_page(viewport={"width": width, "height": 844})
    page.goto((tmp_path / "recipe.html").as_uri())
    shown, content = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert content <= shown
    assert page.locator("audio").count() == 4 and page.locator("table").count() == 2
    page.close()


@pytest.mark.parametrize("page", [PHONE, 320, 768, DESK], indirect=True)
def test_nothing_scrolls_sideways(page: Page) -> None:
    width, content = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert content <= width


def test_questions_and_replies_play(page: Page) -> None:
    players = page.locator("audio")
    assert players.count() == 8
    played = players.first.evaluate(
        """async player => {
            player.currentTime = 0;
            await player.play();
            await new Promise(done => player.addEventListener("timeupdate", done));
            return [player.duration, player.currentTime, player.error];
        }"""
    )
    assert played[0] == pytest.approx(1.2, abs=0.05)
    assert played[1] > 0
    assert played[2] is None


@pytest.mark.parametrize("page", [PHONE, DESK], indirect=True)
def test_table_sorts_both_ways(page: Page) -> None:
    def column() -> list[str]:
        return page.locator("table.answers tbody td[data-label=Expected]").all_inner_texts()

    heads = page.locator("table.answers").last.locator("th")
    before = column()
    heads.get_by_role("button", name="Expected").click()
    up = column()
    assert up != before and up == sorted(up, key=str.casefold)
    assert heads.nth(2).get_attribute("aria-sort") == "ascending"
    heads.get_by_role("button", name="Expected").click()
    assert column() == up[::-1]
    heads.get_by_role("button", name="Verdict").click()
    assert heads.nth(2).get_attribute("aria-sort") is None
    verdicts = page.locator("table.answers tbody td[data-label=Verdict]").all_inner_texts()
    assert verdicts == sorted(verdicts) and len(set(verdicts)) == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_curves_contrast_with_the_ground(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)

    def brightness(selector: str, rule: str) -> float:
        colour = page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{rule}")
        return sum(float(c) for c in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 3

    ground = brightness("body", "backgroundColor")
    assert (ground > 128) == (scheme == "light")
    for ink in (brightness("h1", "color"), brightness(".curve svg text", "fill"), brightness("th button", "color")):
        assert abs(ink - ground) > 150


def test_the_filter_leaves_only_wrong_replies(page: Page) -> None:
    cards, rows = page.locator("article:visible"), page.locator("table.answers").last.locator("tbody tr:visible")
    assert (cards.count(), rows.count()) == (4, 6)
    page.get_by_label("Show only wrong replies").check()
    assert (cards.count(), rows.count()) == (1, 2)
    assert set(page.locator("td[data-label=Verdict]:visible").all_inner_texts()) == {"wrong"}
