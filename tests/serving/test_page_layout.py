"""How the page looks and what it tells, in a real browser without a microphone; and its queue of samples alone."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from page_server import REPLY, site
from playwright.sync_api import Browser, Page, expect
from served import KEY

pytestmark = pytest.mark.browser
SMALL, PHONE, TABLET, DESK = 360, 390, 768, 1200  # CSS pixels

# Texts whose contrast with what is behind them, by WCAG, is below 4.5.
POOR = """elements => {
    const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
    const bright = ([r, g, b]) => [[0.2126, r], [0.7152, g], [0.0722, b]].reduce((sum, [weight, c]) =>
        sum + weight * (c <= 10 ? c / 3294 : ((c / 255 + 0.055) / 1.055) ** 2.4), 0);
    const contrast = element => {
        let ground = element;
        while (rgb(getComputedStyle(ground).backgroundColor)[3] === 0) ground = ground.parentElement;
        const behind = bright(rgb(getComputedStyle(ground).backgroundColor));
        const text = bright(rgb(getComputedStyle(element).color));
        return (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    };
    return elements.filter(element => element.innerText.trim() && contrast(element) < 4.5)
        .map(element => `${element.id || element.className || element.tagName}: ${contrast(element)}`);
}"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with site() as served:
        yield served.url


@pytest.fixture
def page(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page in the middle of a talk, with everything unfolded."""
    page = browser.new_page(viewport={"width": getattr(request, "param", DESK), "height": 844})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text))
    page.goto(url)
    page.get_by_label("Message").fill("What is seven plus zero?")
    page.keyboard.press("Enter")
    expect(page.locator("body")).to_have_attribute("data-state", "speaking")
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    yield page
    page.close()
    assert problems == []


def check_fit(page: Page) -> None:
    width, content = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert content <= width
    controls = "button:not(#questions *):visible, input:visible, summary:visible, canvas:visible"
    for control in page.locator(controls).all():
        box = control.bounding_box()
        assert box and box["x"] >= 0 and box["x"] + box["width"] <= width and box["width"] > 0


@pytest.mark.parametrize("page", [SMALL, PHONE, TABLET, DESK], indirect=True)
def test_everything_fits_the_screen(page: Page) -> None:
    check_fit(page)
    page.get_by_role("button", name="New talk").click()
    expect(page.locator("#welcome")).to_be_visible()
    check_fit(page)


def named(page: Page) -> set[str]:
    """Checks that what has one of these roles has a name as well; returns the roles."""
    roles = {"button", "textbox", "combobox", "radio", "slider", "meter", "image", "log", "dialog", "region"}
    session = page.context.new_cdp_session(page)
    nodes = [node for node in session.send("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
    nodes = [node for node in nodes if node["role"]["value"].lower() in roles]
    assert [node for node in nodes if not node["name"]["value"]] == []
    return {node["role"]["value"].lower() for node in nodes}


def test_every_control_has_a_name(page: Page) -> None:
    assert named(page) >= {"button", "textbox", "radio", "meter", "image", "log", "region"}
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert named(page) >= {"button", "textbox", "combobox", "slider", "dialog"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_read(page: Page, scheme: Any) -> None:
    page.emulate_media(color_scheme=scheme)
    expect(page.locator("#tokens .unit").first).to_be_attached()
    texts = (
        "h1, #connection, .switch span, .plain, .turn b, .turn p, .heard, .rest, #state, #hint-text, kbd, summary h2, "
        ".figure, .fine, #latency th, #latency td, #tokens span:not(.units), #events span, .sound .name, #vad, "
        "#questions button"
    )
    assert page.locator(texts).count() > 100
    assert page.locator(texts).evaluate_all(POOR) == []


def test_colours_can_be_chosen(page: Page) -> None:
    page.get_by_role("button", name="Settings").click()
    for theme, dark in (("dark", True), ("light", False)):
        page.get_by_label("Colours").select_option(theme)
        ground = page.locator("html").evaluate("e => getComputedStyle(e).backgroundColor.match(/\\d+/g).map(Number)")
        assert (sum(ground[:3]) < 300) == dark


def test_without_a_microphone_the_page_says_so_and_can_be_typed_to(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(url)
    page.get_by_role("button", name="Start talking").click()
    expect(page.get_by_role("alert")).to_contain_text("microphone")
    page.get_by_label("Message").fill("Then I write.")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("#transcript .heard")).to_have_text(REPLY, timeout=15_000)
    page.close()


def test_a_server_with_keys_is_asked_for_one(browser: Browser) -> None:
    page = browser.new_page()
    with site(keys=(KEY,)) as served:
        page.goto(served.url)
        page.get_by_label("Server key").fill(KEY)
        page.get_by_role("button", name="Done").click()
        page.get_by_label("Message").fill("May I?")
        page.keyboard.press("Enter")
        expect(page.locator("body")).to_have_attribute("data-state", "speaking")
    page.close()


@pytest.fixture
def played(browser: Browser, url: str) -> Iterator[Callable[[str], Any]]:
    """Runs a script with `queue`, a queue of samples at 24 kHz; `told`, its events; `ms(n)`, n ms of ones; `out(n)`."""
    page = browser.new_page()
    page.goto(url)

    def run(script: str) -> Any:
        return page.evaluate(
            f"""async () => {{
                const {{ Playout }} = await import("/page/play.js");
                const told = [];
                const queue = new Playout(24000, event => told.push(event));
                const ms = n => new Float32Array(24 * n).fill(1);
                const out = n => {{ const block = new Float32Array(24 * n); queue.render(block); return block; }};
                return ({script})();
            }}"""
        )

    yield run
    page.close()


def test_play_out_begins_with_120_ms_in_hand(played: Callable[[str], Any]) -> None:
    silent, started, loud = played(
        """() => {
            queue.push("a", ms(100));
            const before = out(20).every(sample => sample === 0);
            queue.push("a", ms(30));
            const after = out(20);
            return [before, told.filter(event => event.kind === "started").length, after[479]];
        }"""
    )
    assert silent and started == 1 and loud == 1


def test_an_underrun_asks_for_40_ms_more_up_to_400(played: Callable[[str], Any]) -> None:
    cushions, played_ms = played(
        """() => {
            const cushions = [queue.cushion / 24];
            for (let i = 0; i < 9; i++) {
                queue.push("a", ms(400));
                out(480);
                cushions.push(Math.round(queue.cushion / 24));
            }
            queue.end("a");
            return [cushions, told.at(-1).played / 24];
        }"""
    )
    assert cushions == [120, 160, 200, 240, 280, 320, 360, 400, 400, 400]
    assert played_ms == 9 * 400


def test_a_flush_fades_within_20_ms_and_counts_what_was_played(played: Callable[[str], Any]) -> None:
    faded, last, silent, drained, others = played(
        """() => {
            queue.push("a", ms(500));
            queue.push("b", ms(500));
            out(200);
            queue.flush();
            const tail = out(20), after = out(100);
            const ends = told.filter(event => event.kind === "drained");
            const falls = tail.every((sample, i) => i === 0 || sample <= tail[i - 1]);
            return [falls, tail[479], after.subarray(24).every(s => Math.abs(s) < 0.01),
                ends.find(end => end.reply === "a"), ends.find(end => end.reply === "b")];
        }"""
    )
    assert faded and last < 0.01 and silent
    assert drained["played"] == 24 * 220 and drained["cut"]
    assert others["played"] == 0 and others["cut"]


def test_a_short_reply_is_played_at_its_end_and_a_live_stream_keeps_up(played: Callable[[str], Any]) -> None:
    short, behind, clock = played(
        """() => {
            queue.push("a", ms(40));
            queue.end("a");
            out(60);
            const short = told.find(event => event.kind === "drained").played / 24;
            queue.take({ kind: "limit", seconds: 1 });
            for (let i = 0; i < 8; i++) queue.push("live", ms(200));
            out(20);
            return [short, queue.buffered / 24, queue.played / 24];
        }"""
    )
    assert short == 40
    assert behind <= 1000 and behind + clock == 8 * 200
