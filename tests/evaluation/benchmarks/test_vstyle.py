"""VStyle: scores of a judge, weights of abilities."""

import math

import pytest

from fac_jax.evaluation.benchmarks import vstyle


@pytest.mark.parametrize(
    ("reply", "found"),
    [("Final score: [[4]]", 4), ("[[2]] no: [[ 3.5\n]]", 3.5), ("[[5]] and [[see above]]", 5), (" 4\n", 4),
     ("Final score: 4", None), ("[[[3]]]", None), ("", None), ("[[9]]", 9)],
)  # fmt: skip
def test_the_last_marked_number_counts(reply: str, found: float | None) -> None:
    read = vstyle.read_score(reply)
    assert (read and read[1]) == found


def test_only_strictly_is_a_score_within_its_scale() -> None:
    assert vstyle.score("[[9]]").points == 9 and math.isnan(vstyle.score("[[nan]]").points or 0)
    assert vstyle.score("[[9]]", "strict").cause == vstyle.score("[[nan]]", "strict").cause == "unparsed"


def test_weights_are_of_groups_and_their_parts() -> None:
    assert math.fsum(vstyle.WEIGHTS.values()) == pytest.approx(1) and len(vstyle.WEIGHTS) == 16
    assert vstyle.WEIGHTS["acoustic_attributes/composite_properties"] == pytest.approx(1 / 8)
    assert vstyle.WEIGHTS["acoustic_attributes/pitch"] == pytest.approx(1 / 48)
    assert vstyle.WEIGHTS["role_play/scenario"] == pytest.approx(1 / 8)


def test_abilities_without_rows_drop_out() -> None:
    means = {"role_play/scenario": 2.0, "role_play/character": 4.0, "empathy/anger": 5.0, "empathy/other": 1.0}
    assert vstyle.overall(means) == pytest.approx((2 / 8 + 4 / 8 + 5 / 16) / (2 / 8 + 1 / 16))
    assert vstyle.coverage(means) == pytest.approx(5 / 16)
    assert vstyle.group_values(means) == {"role_play": pytest.approx(3), "empathy": pytest.approx(5)}
    with pytest.raises(ValueError, match="empathy/other"):
        vstyle.overall({"empathy/other": 1.0})
