"""What an open recogniser writes down of replies: word error rate, and which words were heard."""

import numpy as np
import pytest

from experiments.toy.listening import SILENCE, as_words, listen

TEXTS = ["one plus two is three", "ten minus nine is one", "four plus six is ten"]


def test_words_are_counted_by_their_place() -> None:
    heard = {1: "1 + 2 = 3.", 2: "Ten minus five is", 3: "Four plus six is ten!"}

    def recogniser(wave: np.ndarray) -> str:
        assert not wave[: SILENCE.size].any() and not wave[-SILENCE.size :].any()
        return heard[int(wave.max())]

    waves = [np.full(100, i, np.float32) for i in heard]
    found = listen(waves, TEXTS, recogniser, judge=lambda wave: float(wave.max()))
    assert found.word_error_rate == pytest.approx(2 / 15)
    assert found.words == pytest.approx((1, 1, 2 / 3, 1, 2 / 3)) and found.mos == 2.0


def test_numbers_and_signs_become_words() -> None:
    assert as_words("It's 12 + 3 = 15, or 21?") == "it's twelve plus three is fifteen or 21"
