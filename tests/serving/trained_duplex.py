"""A trained full-duplex model in a real browser: it counts, is interrupted, and answers (`make test-duplex`)."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from page_visitor import BLOCK, FILE_RATE, RATE, Visitor, heard, loud, sound, state
from playwright.sync_api import Page, expect
from server_process import ServerProcess

from data_pipelines.worlds.espeak import SAMPLE_RATE, Voice, speak
from fac_jax.audio.io import resampled

pytestmark = pytest.mark.browser
MODEL = Path(os.environ["DUPLEX"]).resolve()
USER = Voice("en-us")
COUNTED_S = 2.6  # from the end of "count to ten" to the interruption; the first number is heard after about 0.7 s
# From the interruption to silence: 0.8 s by the call's clock, and at most two slots on the way through page and server.
STOPS_S = 1.2


def said_by_user(text: str) -> np.ndarray:
    return 0.5 * resampled(speak(text, USER), SAMPLE_RATE, FILE_RATE)


def test_an_interruption_is_heard_and_answered(
    visitor: Visitor, at: Callable[[str], Page], tmp_path: Path, figures: Any
) -> None:
    visitor.says(0.5, said_by_user("count to ten"), COUNTED_S, said_by_user("what is two plus three"))
    server = ServerProcess(tmp_path, 0, f"--checkpoint={MODEL}")
    try:
        page = at(server.url)
        page.get_by_role("radio", name="Full duplex").check()
        page.get_by_role("button", name="Start talking").click()
        state(page, "live")
        expect(heard(page)).to_have_text(re.compile("two plus three is five"), timeout=30_000)
        page.wait_for_timeout(3_000)  # until it is spoken
        user, model = map(loud, sound(page))
    finally:
        server.kill()
    seconds = BLOCK / RATE
    words = np.flatnonzero(user)
    second = words[1:][np.diff(words) * seconds > 0.6 * COUNTED_S][0]  # the block in which the interruption begins
    assert model[second - round(0.5 / seconds) : second].any(), "it counts"
    asked = words[-1] + 1
    before = np.flatnonzero(model[:asked])  # while the question is asked only the count is heard
    figures("interruption to silence on the page, s", float(before[-1] + 1 - second) * seconds, STOPS_S)
    assert model[asked:].any(), "it answers"
