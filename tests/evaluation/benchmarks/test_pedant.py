"""PEDANT with small weights."""

import math
from pathlib import Path

import numpy as np
import pytest

from fac_jax.evaluation.benchmarks.pedant import Pedant, score, summarize_pedant
from fac_jax.types import InputError


def pedant(folder: Path, words: dict[str, float], overlap: tuple[float, float, float], intercept: float) -> Pedant:
    """Weights of a few words, each with an idf of 1."""
    path = folder / "weights.npz"
    np.savez(
        path,
        words=np.frombuffer("\n".join(words).encode(), np.uint8),
        idf=np.ones(len(words)),
        coef=np.array([[*words.values(), *overlap]]),
        intercept=np.array([intercept]),
    )
    return Pedant.load(path)


def test_a_reply_that_contains_the_cleaned_reference_matches(tmp_path: Path) -> None:
    never = pedant(tmp_path, {"x1": 0.0}, (0, 0, 0), 5.0)
    assert never.matches("who", "The U.S. President", "it's the US  president!")
    assert never.probability("who", "The U.S. President", "it's the US  president!") == 1
    assert never.matches("who", "the", "no idea")  # nothing is left of the reference
    assert not never.matches("who", "US president", "president US")


def test_probability_is_of_the_log_odds(tmp_path: Path) -> None:
    weights = pedant(tmp_path, {"cls": 0.0, "sep": 2.0, "rome": 1.0}, (0, 0, 0), -0.5)
    # [CLS] rome rome [SEP] paris [SEP] where [SEP]: counts 1, 3 and 2
    logit = (3 * 2.0 + 2 * 1.0) / math.sqrt(1 + 9 + 4) - 0.5
    assert weights.probability("Where?", "Paris", "Rome, ROME") == pytest.approx(1 / (1 + math.exp(logit)))
    unknown = pedant(tmp_path, {"zzz": 1.0}, (0, 0, 0), 0.0)
    assert unknown.probability("Where?", "Paris", "Rome") == 0.5 and unknown.matches("Where?", "Paris", "Rome")


@pytest.mark.parametrize(
    ("overlap", "logit"), [((1, 0, 0), 4 / 7), ((0, 1, 0), 1.0), ((0, 0, 1), 0.4)], ids=["f1", "precision", "recall"]
)
def test_overlap_is_of_sets_of_words_with_contractions_expanded(
    tmp_path: Path, overlap: tuple[float, float, float], logit: float
) -> None:
    weights = pedant(tmp_path, {"zzz": 0.0}, overlap, 0.0)
    found = weights.probability("", "do not go, said Ann", "Don't! The don't!")  # do and not, of five words
    assert found == pytest.approx(1 / (1 + math.exp(logit)))


def test_only_a_match_expands_the_contractions_of_the_question(tmp_path: Path) -> None:
    weights = pedant(tmp_path, {"whats": 1.0, "what": -1.0}, (0, 0, 0), 0.0)
    assert weights.matches("What's it?", "Paris", "Rome")
    assert weights.probability("What's it?", "Paris", "Rome") == pytest.approx(1 / (1 + math.e))


def test_panda_is_a_percentage(tmp_path: Path) -> None:
    weights = pedant(tmp_path, {"x1": 0.0}, (0, 0, 0), 5.0)
    outcomes = [score("who", "Ann", reply, pedant=weights) for reply in ("Ann", "Bob", "Bo", "B")]
    assert summarize_pedant(outcomes).values == {"panda": 25}


def test_damaged_weights_are_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="weights.npz"):
        Pedant.load(path)
    np.savez(path, words=np.frombuffer(b"a\nb", np.uint8), idf=np.ones(2), coef=np.ones(4), intercept=np.ones(1))
    with pytest.raises(InputError, match="2 words, 2 idf, 4 coef"):
        Pedant.load(path)
