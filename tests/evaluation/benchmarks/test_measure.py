"""Values as ratios of sums, and their intervals."""

import json

import numpy as np
import pytest

from fac_jax.evaluation.benchmarks.measure import Measure, mean, parts


def ids(count: int) -> list[str]:
    return [str(i) for i in range(count)]


def test_rows_without_points_are_left_out_of_a_mean() -> None:
    assert mean(ids(4), [1.0, None, 0.0, 1.0], 100).value() == pytest.approx(200 / 3)
    assert mean(ids(2), [None, None]).value() is None and mean(ids(2), [None, 1.0]).interval() is None


def test_an_interval_of_an_accuracy_is_wilsons() -> None:
    low, high = mean(ids(10), [100.0] * 10).interval() or (0, 0)
    assert high == pytest.approx(100) and low == pytest.approx(72.25, abs=0.01)  # of 10 right rows of 10


def test_an_interval_of_other_points_is_near_that_of_the_normal_distribution() -> None:
    points = [1.0 + n % 5 for n in range(200)]  # 1 to 5: mean 3, variance 2
    low, high = mean(ids(200), points).interval() or (0, 0)
    half = 1.96 * (2 / 200) ** 0.5
    assert (low, high) == pytest.approx((3 - half, 3 + half), abs=0.02)


def test_a_rate_is_the_ratio_of_sums_not_the_mean_of_ratios() -> None:
    errors, words = np.array([[1.0], [0.0]]), np.array([[1.0], [9.0]])
    assert Measure(ids(2), errors, words, np.ones(1), 100).value() == pytest.approx(10)


def test_a_part_without_rows_drops_out_and_weights_are_normalised() -> None:
    weights = {"a": 0.5, "b": 0.25, "c": 0.25}
    found = parts(ids(3), [4.0, 2.0, 1.0], ["a", "a", "b"], weights)
    assert found.value() == pytest.approx((0.5 * 3 + 0.25 * 1) / 0.75)


def test_two_models_are_compared_on_the_rows_that_both_have() -> None:
    first = mean(ids(100), [1.0] * 100)
    second = mean(["x", *ids(100)[:99]], [1.0] + [1.0, 0.0, 0.0] * 33)
    gain, (low, high) = first.difference(second) or (0, (0, 0))
    assert gain == pytest.approx(2 / 3) and 0.5 < low < gain < high < 0.8
    same = second.difference(second)
    assert same == (0, (0, 0)), "the same draw of rows on both sides"
    assert first.difference(mean(["y"], [1.0])) is None


def test_a_stored_measure_is_the_same() -> None:
    first = parts(ids(3), [4.0, None, 1.0], ["a", "a", "b"], {"a": 1.0, "b": 2.0})
    again = Measure.from_json(json.loads(json.dumps(first.to_json())))
    assert again.value() == first.value() and again.interval() == first.interval() and again.ids == first.ids
