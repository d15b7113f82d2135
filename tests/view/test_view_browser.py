"""The page of the viewer in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page
from toy_world import LoudnessCodec, make_model, make_tokenizer

from data_pipelines.view.blocks import laid_out, render
from data_pipelines.view.samples import Reader, Sample
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.io import write_text

pytestmark = pytest.mark.browser
PHONE, DESK = 390, 1280  # CSS pixels


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("view")
    tokenizer = make_tokenizer(folder)
    reader = Reader(tokenizer, LoudnessCodec(), make_model(tokenizer), "")  # pyright: ignore[reportArgumentType]
    rng = np.random.default_rng(0)
    asked, said = ((0.1 * rng.standard_normal(round(16_000 * s))).astype(np.float32) for s in (1.5, 4.9))
    turns = (Turn("user", wave=asked), Turn("assistant", "one plus one is two " + "x" * 12, wave=said))
    talk = Conversation("a-row-with-a-very-long-name" * 3, "You are kind.", turns)
    page = folder / "page.html"
    write_text(page, render("data", laid_out([Sample(talk, "a note")] * 2, reader), reader))
    return page


@pytest.fixture
def page(browser: Browser, path: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": getattr(request, "param", DESK), "height": 844})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: problems.append(r.url) if not r.url.startswith(("file:", "data:")) else None)
    page.goto(path.as_uri())
    yield page
    page.close()
    assert problems == []


@pytest.mark.parametrize("page", [PHONE, 320, 768, DESK], indirect=True)
def test_no_horizontal_scrolling(page: Page) -> None:
    width, content = page.evaluate("[document.documentElement.clientWidth, document.documentElement.scrollWidth]")
    assert content <= width


def test_every_player_plays(page: Page) -> None:
    players = page.locator("audio")
    assert players.count() == 4
    for player, seconds in zip(players.all(), (1.5, 4.9) * 2, strict=True):
        length, now, error = player.evaluate(
            """async player => {
                await player.play();
                await new Promise(done => player.addEventListener("timeupdate", done));
                player.pause();
                return [player.duration, player.currentTime, player.error];
            }"""
        )
        assert length == pytest.approx(seconds, abs=0.05) and now > 0 and error is None


@pytest.mark.parametrize("page", [PHONE, DESK], indirect=True)
def test_tokens_are_aligned_with_the_spectrogram(page: Page) -> None:
    lines = page.locator(".line")
    assert lines.count() == 2 * (1 + 3)  # 8 groups heard; 2 of delay and 25 said
    for line in lines.all():
        picture, numbers, words, groups, units = line.evaluate(
            """line => {
                const edges = e => (r => [r.left, r.right])(e.getBoundingClientRect());
                const all = css => [...line.querySelectorAll(css)].map(edges);
                return [edges(line.querySelector("img")), all(".number"), all(":scope > .word"), all(".group"),
                        all(".unit")];
            }"""
        )
        count = len(numbers)
        assert count == len(words) == len(groups) == len(units) / 5 and count <= 10
        width = (picture[1] - picture[0]) / count
        for i, places in enumerate(zip(numbers, words, groups, strict=True)):
            for left, right in places:
                assert left == pytest.approx(picture[0] + i * width, abs=0.6)
                assert right == pytest.approx(picture[0] + (i + 1) * width, abs=0.6)
        for i, (left, right) in enumerate(units):
            assert (left + right) / 2 == pytest.approx(picture[0] + (i + 0.5) * width / 5, abs=1.0)
    full = [line.evaluate("line => line.querySelector('img').getBoundingClientRect().width") for line in lines.all()]
    assert full[0] / 8 == pytest.approx(full[1] / 10, rel=0.01)  # one scale for all


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_labelled_ids_are_coloured(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)

    def ground(selector: str) -> str:
        return page.locator(selector).first.evaluate("e => getComputedStyle(e).backgroundColor")

    seen = [ground(f".block .{kind}") for kind in ("word.learned", "word:not(.learned)", "unit.learned")]
    assert len(set(seen)) == 3
    assert ground(".legend .word.learned") == seen[0] and ground(".legend .unit.learned") == seen[2]
    ink = page.locator(".block .word.learned").first.evaluate("e => getComputedStyle(e).color")
    levels = [[float(c) for c in colour[colour.index("(") + 1 : -1].split(",")[:3]] for colour in (ink, seen[0])]
    assert abs(np.mean(levels[0]) - np.mean(levels[1])) > 90
