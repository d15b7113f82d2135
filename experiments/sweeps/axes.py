"""Axes of a sweep: which keys of a config change together, and through which values.

A sweep runs every combination of one point of each axis with every seed. In a config an axis is written by one of the
functions here, `grid`, `zipped`, `points` or `random`; keys are those of the base config, joined by dots.
"""

import dataclasses
import itertools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from fac_jax.types import InputError

Point: TypeAlias = tuple[str, dict[str, Any]]  # its name, "" for a point that is named by its values; values by key


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis of a sweep, as its config holds it.

    Attributes:
      kind: "grid", every combination of the keys' values; "zip", their first values, their second ones, ..; "list",
        points with names; "random", draws.
      keys: of the base config; none for a "list".
      values: of each key, in a grid and a zip; of a "list" `(name, ((key, value), ..))`; for "random" of each key
        `("uniform", low, high)`, `("log_uniform", low, high)` or `("choice", value, ..)`.
      draws: of "random".
      seed: of "random".
    """

    kind: Literal["grid", "zip", "list", "random"]
    keys: tuple[str, ...] = ()
    values: tuple[Any, ...] = ()
    draws: int = 0
    seed: int = 0


def grid(values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Returns an axis with every combination of values: `grid({"model.group_size": (1, 3, 5, 7)})`."""
    return _axis("grid", values)


def zipped(values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Returns an axis of values that change together: `zipped({"stages.a.steps": (100, 200), "seed": (1, 2)})`."""
    return _axis("zip", values)


def points(named: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns an axis of named points: `points({"with": {}, "without": {"stages.speak.speech_weight": 0.0}})`."""
    return {"kind": "list", "values": tuple((name, tuple(point.items())) for name, point in named.items())}


def random(ranges: Mapping[str, Sequence[Any]], draws: int, seed: int = 0) -> dict[str, Any]:
    """Returns an axis of draws: `random({"stages.speak.optimizer.peak": ("log_uniform", 1e-4, 1e-2)}, draws=8)`."""
    return {**_axis("random", ranges), "draws": draws, "seed": seed}


def _axis(kind: str, values: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {"kind": kind, "keys": tuple(values), "values": tuple(map(tuple, values.values()))}


def axis_points(name: str, axis: Axis) -> list[Point]:
    """Returns the points of an axis, in order.

    Raises:
      InputError: the values of the axis do not make points; names the axis.
    """
    where = f"axes.{name}"
    if axis.kind != "list" and (len(axis.keys) != len(axis.values) or not axis.keys):
        raise InputError(f"{where} has {len(axis.keys)} keys and {len(axis.values)} lists of values: give one for each")
    if axis.kind == "zip" and len({len(values) for values in axis.values}) > 1:
        raise InputError(f"{where}: a zip needs as many values of one key as of another")
    if axis.kind == "random" and axis.draws < 1:
        raise InputError(f"{where}.draws is {axis.draws}: random axes need at least one")
    found: list[Point]
    if axis.kind == "list":
        found = [(name, dict(values)) for name, values in axis.values]
    elif axis.kind == "random":
        rng, ranges = np.random.default_rng(axis.seed), dict(zip(axis.keys, axis.values, strict=True))
        found = [
            ("", {key: _drawn(f"{where} ({key})", rng, way) for key, way in ranges.items()}) for _ in range(axis.draws)
        ]
    else:
        together = itertools.product(*axis.values) if axis.kind == "grid" else zip(*axis.values, strict=True)
        found = [("", dict(zip(axis.keys, values, strict=True))) for values in together]
    if not found:
        raise InputError(f"{where} has no point")
    return found


def _drawn(where: str, rng: np.random.Generator, way: Sequence[Any]) -> Any:
    """Draws a value; floats have three digits, so that the run's name holds the whole value."""
    kind, *values = way
    if kind == "choice" and values:
        return values[int(rng.integers(len(values)))]
    if kind in ("uniform", "log_uniform") and len(values) == 2:
        low, high = values
        if low < high and (kind == "uniform" or low > 0):
            drawn = rng.uniform(low, high) if kind == "uniform" else rng.uniform(math.log(low), math.log(high))
            return float(f"{drawn if kind == 'uniform' else math.exp(drawn):.3g}")
    raise InputError(
        f"{where}: {way!r} cannot be drawn from; write ('uniform', low, high), ('log_uniform', low, high) with 0 < low "
        "< high, or ('choice', value, ..)"
    )


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """Returns for every key its shortest ending, in whole words, that is unique."""

    def ending(key: str, words: int) -> str:
        return ".".join(key.split(".")[-words:])

    found = {}
    for key in dict.fromkeys(keys):
        others = [other for other in keys if other != key]
        lengths = range(1, key.count(".") + 2)
        found[key] = next(
            (ending(key, n) for n in lengths if all(ending(key, n) != ending(other, n) for other in others)), key
        )
    return found


def written(value: Any) -> str:
    """Formats a value as a part of a run's name."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return "+".join(map(written, value))
    return re.sub(r"[^\w.+-]+", "-", str(value))
