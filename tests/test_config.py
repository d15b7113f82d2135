"""Dataclasses, trees and ConfigDicts: one config in three forms."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import pytest

from fac_jax.config import from_tree, known_keys, to_config_dict, to_tree
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Mean:
    kind: ClassVar[str] = "mean"
    weight: float = 1.0
    most: int | None = None


@dataclasses.dataclass(frozen=True)
class Median:
    kind: ClassVar[str] = "median"
    weight: float = 2.0
    names: tuple[str, ...] = ("q",)


@dataclasses.dataclass(frozen=True)
class Merge:
    start: str
    alphas: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"backbone/": 0.5})


@dataclasses.dataclass(frozen=True)
class Whole:
    steps: int
    loss: Mean | Median = Mean()
    merge: Merge | None = None
    mode: Literal["min", "max"] = "min"
    parts: Mapping[str, Mean] = dataclasses.field(default_factory=dict)
    shape: tuple[int, int] = (1, 2)
    sources: Sequence[str] = ("room",)


WHOLE = Whole(3, Median(names=("a", "b")), Merge("text"), parts={"s": Mean(most=4)})


@pytest.mark.parametrize("config", [WHOLE, Whole(1)])
def test_every_form_says_the_same(config: Whole) -> None:
    assert from_tree(Whole, to_tree(config)) == config
    assert from_tree(Whole, to_config_dict(config).to_dict()) == config


def test_every_field_can_be_set() -> None:
    settable = to_config_dict(Whole(1))
    settable.merge.start = "text"
    settable.loss.kind, settable.loss.weight, settable.loss.names = "median", 3, ("c",)
    settable.sources = ("hall",)
    expected = Whole(1, Median(3.0, ("c",)), Merge("text"), sources=("hall",))
    assert from_tree(Whole, settable.to_dict()) == expected
    unset = to_config_dict(Whole, unset=True)
    assert set(known_keys(unset)) >= {"steps", "loss.kind", "loss.most", "loss.names", "merge.start", "shape"}
    unset.steps = 5
    assert from_tree(Whole, {**unset.to_dict(), "loss": {"kind": "mean"}}) == Whole(5)


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "config key where.steps is missing"),
        ({"steps": "x"}, "config key where.steps must be a whole number; it is 'x'"),
        ({"steps": True}, "config key where.steps must be a whole number; it is True"),
        ({"steps": 1, "lss": {}}, r"unknown config key where.lss; did you mean loss\?"),
        ({"steps": 1, "mode": "mid"}, "config key where.mode is 'mid'; known: min, max"),
        ({"steps": 1, "shape": (1,)}, r"config key where.shape must have 2 entries; it is \(1,\)"),
        (
            {"steps": 1, "parts": {"s": {"weight": "no"}}},
            "config key where.parts.s.weight must be a number; it is 'no'",
        ),
        ({"steps": 1, "loss": {"kind": "mode"}}, "config key where.loss.kind is 'mode'; known: mean, median"),
        (
            {"steps": 1, "loss": {"kind": "mean", "names": ("f",)}},
            "config key where.loss.names belongs to kind 'median', this one is 'mean'",
        ),
        ({"steps": 1, "merge": 3}, "config key where.merge is 3: give keys and values; known: start, alphas"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_whole_key(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_tree(Whole, tree, "where")
