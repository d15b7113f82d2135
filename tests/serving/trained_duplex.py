"""A trained full-duplex model in a real browser: it counts, is interrupted, and answers (`make test-duplex`)."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from page_visitor import FILE_RATE, RATE, Visitor, heard, sound, state
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


def loud(samples: np.ndarray) -> np.ndarray:
    """Whether something is heard, in blocks of 40 ms."""
    blocks = samples[: len(samples) // 960 * 960].reshape(-1, 960)
    return np.abs(blocks).max(1) > 0.01


def test_an_interruption_is_heard_and_answered(visitor: Visitor, at: Callable[[str], Page], tmp_path: Path) -> None:
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
    words = np.flatnonzero(user)
    second = words[1:][np.diff(words) > 0.6 * COUNTED_S * RATE / 960][0]  # the block in which the interruption begins
    assert model[second - 12 : second].any(), "it counts"
    after = second + round(STOPS_S * RATE / 960)
    assert not model[after : after + 5].any(), "it has stopped"
    assert model[words[-1] :].any(), "it answers"
