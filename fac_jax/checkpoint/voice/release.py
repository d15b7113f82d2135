"""Parameters of the voice from torch names, by the table of `names.py`."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import jax
import numpy as np

from fac_jax.checkpoint.release.names import Entry
from fac_jax.checkpoint.release.params import filled, shapes_of, unfit
from fac_jax.checkpoint.voice.names import INVERSE_FREQUENCIES, flow_entries, tokenizer_entries, vocoder_entries
from fac_jax.checkpoint.voice.weight_norm import fold
from fac_jax.codec.cosyvoice.voice import PARTS
from fac_jax.types import InputError, Params


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the release names the parameters of a part of the voice.

    Attributes:
      entries: returns the table for a config.
      ignored: names that are known and not used.
      prefix: optional beginning of all names.
    """

    entries: Callable[[Any], Iterator[Entry]]
    ignored: frozenset[str] = frozenset()
    prefix: str = ""


LAYOUTS: Final[Mapping[str, Layout]] = {
    "tokenizer": Layout(tokenizer_entries),
    "flow": Layout(flow_entries, frozenset({INVERSE_FREQUENCIES})),
    "vocoder": Layout(vocoder_entries, prefix="generator."),
}

PITCH: Final = "f0_predictor"


def from_torch(part: str, tensors: Mapping[str, np.ndarray], config: Any) -> Params:
    """Returns our parameters of a part of the voice: float32, those of the pitch float64 (`codec.source`).

    Args:
      part: name in `voice.PARTS`.
      tensors: all tensors of the part by torch names; weight norms may be folded.
      config: config of the part.

    Raises:
      InputError: names are missing or unknown, or shapes are not those of the config; one message lists them all.
    """
    layout = LAYOUTS[part]
    plain = fold({name.removeprefix(layout.prefix): np.asarray(tensor) for name, tensor in tensors.items()})
    entries = list(layout.entries(config))
    used, problems = unfit(entries, part_shapes(part, config), {name: a.shape for name, a in plain.items()})
    problems |= dict.fromkeys(plain.keys() - used - layout.ignored, "is unknown")
    if problems:
        reported = "; ".join(f"{name} {problem}" for name, problem in sorted(problems.items()))
        raise InputError(f"{len(problems)} problems in the tensors of the {part}: {reported}")
    params = filled(entries, plain)
    return {name: _as(np.float64 if name == PITCH else np.float32, value) for name, value in params.items()}


def _as(dtype: type[np.floating], params: Params) -> Params:
    return jax.tree.map(lambda a: np.asarray(a, dtype), params)


def part_shapes(part: str, config: Any) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Returns the shape of every parameter of a part of the voice by its path; nothing is allocated."""
    return shapes_of(jax.eval_shape(lambda: PARTS[part].init(config, jax.random.key(0))))
