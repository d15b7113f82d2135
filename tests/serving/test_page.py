"""The page in a real browser, Debian's chromium, whose microphone plays a file; the engine is scripted."""

import re
from collections.abc import Callable

import numpy as np
import pytest
from fake_engine import FakeEngine
from page_server import HEARD, QUESTIONS, REPLY, site, speak
from page_visitor import PLACE, RATE, Visitor, events, figure, heard, loud_s, said, sound, state
from playwright.sync_api import Page, expect
from served import KEY, until

from fac_jax.serving.realtime.resumable import Resumable

pytestmark = pytest.mark.browser


def test_a_spoken_question_is_answered(visitor: Visitor, at: Callable[[str], Page]) -> None:
    visitor.says(0.5, 1.2)
    with site() as served:
        page = at(served.url)
        page.get_by_role("button", name="Start talking").click()
        expect(said(page, "user")).to_have_text(HEARD, timeout=15_000)
        state(page, "speaking")
        expect(page.locator("#tokens .lit")).to_have_count(1)
        expect(heard(page)).to_have_text(REPLY, timeout=15_000)
        state(page, "listening")
        expect(page.locator("#tokens li")).to_have_count(25)
        expect(page.locator("#tokens .unit")).to_have_count(115)
        assert figure(page, "text") <= figure(page, "audio") <= figure(page, "played")
        user, model = sound(page)
        assert loud_s(user) == pytest.approx(1.2, abs=0.4)  # the browser makes it even, and cleans it
        assert loud_s(model) == pytest.approx(4.6, abs=0.1)
        assert loud_s(served.engine.heard[0].wave) == pytest.approx(1.2 * 16 / 24, abs=0.3)  # blocks of 60 ms


def test_another_model_answers_from_its_choice_on(at: Callable[[str], Page]) -> None:
    engine = FakeEngine(speak)
    engine.others = ("mine",)
    with site(engine) as served:
        page = at(served.url)
        page.get_by_label("Message").fill("hello")
        page.keyboard.press("Enter")
        until(lambda: engine.requests)
        page.get_by_label("Model", exact=True).select_option("mine")
        page.get_by_label("Message").fill("hello")
        page.keyboard.press("Enter")
        until(lambda: len(engine.requests) == 2)
    assert [one.model for one in engine.requests] == [engine.model, "mine"]


def test_a_model_alone_is_named_and_no_choice(at: Callable[[str], Page]) -> None:
    with site() as served:
        alone = at(served.url).get_by_label("Model", exact=True)
        expect(alone).to_have_value(served.engine.model)
        expect(alone).to_be_disabled()


def test_speech_interrupts_within_100_ms(visitor: Visitor, at: Callable[[str], Page]) -> None:
    visitor.says(0.5, 1.2, 2.6, 1.0)
    with site() as served:
        page = at(served.url)
        page.get_by_role("button", name="Start talking").click()
        cut = page.locator("#transcript .model.cut")
        expect(cut).to_have_count(1, timeout=20_000)
        assert cut.locator(".rest").evaluate("e => getComputedStyle(e).textDecorationLine") == "line-through"
        assert cut.locator(".heard").inner_text() + cut.locator(".rest").inner_text() == REPLY
        state(page, "speaking")
        lines, (_, model) = events(page), sound(page)
    kinds = [line["event"]["type"] for line in lines]
    second = [i for i, kind in enumerate(kinds) if kind == "input_audio_buffer.speech_started"][1]
    flushed = kinds.index("page.flushed")
    assert second < flushed < kinds.index("conversation.item.truncated")
    assert lines[flushed]["t_ms"] - lines[second]["t_ms"] <= 100
    until = lines[second]["t_ms"] * RATE // 1000
    assert np.abs(model[until - RATE // 2 : until]).max() > 0.01
    assert not model[until + RATE // 10 : until + RATE // 2].any()
    truncate = next(line["event"] for line in lines if line["event"]["type"] == "conversation.item.truncate")
    assert truncate["audio_end_ms"] == pytest.approx(1000 * loud_s(model[: until + RATE // 2]), abs=100)


def test_space_interrupts_talks_and_mutes(visitor: Visitor, at: Callable[[str], Page]) -> None:
    visitor.says(60.0)
    with site() as served:
        page = at(served.url)
        page.keyboard.press("/")
        page.keyboard.type("What is seven plus zero?")
        page.keyboard.press("Enter")
        state(page, "speaking")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Space")
        expect(page.locator("#transcript .model.cut")).to_have_count(1)
        lines = events(page)
        times = {line["event"]["type"]: line["t_ms"] for line in lines}
        assert times["page.flushed"] - times["page.flush"] <= 100 and "conversation.item.truncate" in times
        state(page, "typing")
        page.evaluate("document.activeElement.blur()")
        page.keyboard.press("Space")
        state(page, "listening")
        mute = page.get_by_role("button", name="Mute the microphone").first
        page.keyboard.press("m")
        expect(mute).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Space")
        state(page, "listening")
        page.keyboard.press("Escape")
        state(page, "off")


def test_a_turn_lasts_as_long_as_the_button_is_held(visitor: Visitor, at: Callable[[str], Page]) -> None:
    visitor.says(0.0, 30.0)
    with site() as served:
        page = at(served.url)
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Your turn ends").select_option("when you let go of the button")
        page.get_by_role("button", name="Done").click()
        main = page.get_by_role("button", name="Start talking")
        main.click()
        state(page, "holding")
        page.get_by_role("button", name="Hold to talk").hover()
        page.mouse.down()
        state(page, "hearing")
        until(lambda: served.engine.heard and loud_s(served.engine.heard[-1].wave) > 0.5)
        page.mouse.up()
        state(page, "speaking")
        expect(said(page, "user")).to_have_text(HEARD)
        page.evaluate("document.activeElement.blur()")
        page.keyboard.down("Space")
        expect(page.locator("#transcript .model.cut")).to_have_count(1)
        page.keyboard.up("Space")
        kinds = [line["event"]["type"] for line in events(page)]
        assert "input_audio_buffer.commit" in kinds and "input_audio_buffer.speech_started" not in kinds


def test_a_saved_question_needs_no_microphone(visitor: Visitor, at: Callable[[str], Page]) -> None:
    with site() as served:
        page = at(served.url)
        page.get_by_role("button", name=QUESTIONS[1]).click()
        state(page, "hearing")
        expect(said(page, "user")).to_have_text(HEARD, timeout=15_000)
        expect(heard(page)).to_have_text(REPLY, timeout=15_000)
        user, model = sound(page)
        assert loud_s(user) == pytest.approx(1.2, abs=0.15) and loud_s(model) == pytest.approx(4.6, abs=0.1)


def test_a_turn_that_nobody_writes_down_is_shown_by_its_length(visitor: Visitor, at: Callable[[str], Page]) -> None:
    with site(transcribe=False) as served:
        page = at(served.url)
        page.get_by_role("button", name=QUESTIONS[0]).click()
        state(page, "speaking")
        expect(said(page, "user")).to_have_text(re.compile(r"Spoken, \d\.\d s"))


def test_full_duplex_speaks_in_the_users_time(visitor: Visitor, at: Callable[[str], Page]) -> None:
    visitor.says(0.5, 1.2)
    with site() as served:
        page = at(served.url)
        page.get_by_role("radio", name="Full duplex").check()
        page.get_by_role("button", name="Start talking").click()
        state(page, "live")
        expect(heard(page)).to_have_text(REPLY, timeout=20_000)
        expect(page.locator("#transcript .turn").first.locator("p")).to_have_text(HEARD)  # where it belongs
        expect(page.locator("#tokens .unit")).to_have_count(115)
        assert loud_s(sound(page)[1]) > 2


def test_a_lost_talk_goes_on(visitor: Visitor, at: Callable[[str], Page]) -> None:
    with site() as served:
        page = at(served.url)
        page.get_by_label("Message").fill("My name is Ann.")
        page.keyboard.press("Enter")
        expect(heard(page)).to_have_text(REPLY, timeout=15_000)
        served.close_talks()
        state(page, "waiting")
        state(page, "typing")
        page.get_by_label("Message").fill("Who am I?")
        page.keyboard.press("Enter")
        state(page, "speaking")
    first, reply, last = served.engine.requests[-1].conversation.turns
    assert (first.text, last.text) == ("My name is Ann.", "Who am I?")
    assert reply.generated is not None and served.engine.text_of(reply.generated) == REPLY, "as the server remembers it"


def test_a_talk_goes_on_with_a_server_that_knows_nothing_of_it(
    visitor: Visitor, at: Callable[[str], Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None: ...

    monkeypatch.setattr(Resumable, "take", nothing)
    with site() as served:
        page = at(served.url)
        page.get_by_label("Message").fill("My name is Ann.")
        page.keyboard.press("Enter")
        expect(heard(page)).to_have_text(REPLY, timeout=15_000)
        expect(page.get_by_text("records what is said")).to_be_hidden()
        served.close_talks()
        state(page, "waiting")
        state(page, "typing")
        page.get_by_label("Message").fill("Who am I?")
        page.keyboard.press("Enter")
        state(page, "speaking")
    asked = [turn.text for turn in served.engine.requests[-1].conversation.turns]
    assert asked == ["My name is Ann.", REPLY, "Who am I?"]


def test_on_another_host_the_page_says_what_to_do(visitor: Visitor) -> None:
    page = visitor.browser.new_page()
    with site(keys=(KEY,)) as served:
        page.goto(served.url.replace("localhost", PLACE) + f"#key={KEY}")
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("--ssl-certfile")
        expect(alert).to_contain_text("ssh -L")
        page.get_by_label("Message").fill("Say it all the same.")
        page.keyboard.press("Enter")
        expect(heard(page)).to_have_text(REPLY, timeout=15_000)
        assert loud_s(sound(page)[1]) == pytest.approx(4.6, abs=0.1)
    page.close()


def test_a_full_server_is_told_from_a_dead_one(visitor: Visitor) -> None:
    page = visitor.browser.new_page()
    with site(FakeEngine(speak)) as served:
        page.goto(served.url)
        served.engine.ready = False
        page.get_by_label("Message").fill("Is there a place?")
        page.keyboard.press("Enter")
        expect(page.locator("#hint")).to_contain_text("All places are taken.")
        served.engine.ready = True
        expect(heard(page)).to_have_text(REPLY, timeout=15_000)
    page.close()
