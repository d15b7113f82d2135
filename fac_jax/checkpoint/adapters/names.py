"""What PEFT calls the modules and parameters of a model: the table of `release/names.py`, seen from torch modules.

A tensor of an adapter has the name `base_model.model.MODULE.lora_A.weight` `[r, in]` or `.lora_B.weight` `[out, r]`,
and a module that is saved in full `base_model.model.MODULE.weight`.
"""

import dataclasses
import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias, get_args

import numpy as np

from fac_jax.checkpoint.release.names import QWEN3, RELEASE, Entry, Source, release_entries, tied_heads
from fac_jax.checkpoint.release.params import param_shapes
from fac_jax.layers.param import SEP
from fac_jax.models.config import ModelConfig

Part: TypeAlias = Literal["whole", "text"]  # the release's classes, or Qwen3ForCausalLM
PARTS: Final[tuple[Part, ...]] = get_args(Part)
LAYOUTS: Final[Mapping[Part, Source]] = {"whole": RELEASE, "text": QWEN3}
PREFIX: Final = "base_model.model."
KERNEL: Final = SEP + "kernel"
WEIGHT: Final = ".weight"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a torch module is among ours: the path of a module (`models.lora`), and an index into its stacked axes."""

    module: str
    index: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Names:
    """Names of one model in one layout.

    Attributes:
      modules: places of the linear modules, which may have an adapter, by the names of torch.
      kernels: shapes `[.., in, out]` of our kernels by the paths of modules.
      params: entries of all parameters and the indices in them, by the names of torch.
      shapes: of our parameters, by their paths in entries.
      tied: the name of every parameter that repeats another one, and the name of that one.
    """

    modules: Mapping[str, Place]
    kernels: Mapping[str, tuple[int, ...]]
    params: Mapping[str, tuple[Entry, tuple[int, ...]]]
    shapes: Mapping[tuple[str, ...], tuple[int, ...]]
    tied: Mapping[str, str]

    def widths(self, module: str) -> tuple[int, int]:
        """Returns the widths that a torch module reads and makes."""
        inward, outward = self.kernels[self.modules[module].module][-2:]
        return inward, outward


@functools.lru_cache(maxsize=8)
def names_of(model: ModelConfig, part: Part) -> Names:
    """Returns the names that a model has in a layout; what has none in it is left out."""
    layout, shapes = LAYOUTS[part], shapes_in(model)
    modules: dict[str, Place] = {}
    kernels: dict[str, tuple[int, ...]] = {}
    params: dict[str, tuple[Entry, tuple[int, ...]]] = {}
    for entry in release_entries(model):
        module = SEP.join(entry.path).removesuffix(KERNEL)
        for index in np.ndindex(entry.names.shape):
            name = layout.own_name(str(entry.names[index]))
            if name is None:
                continue
            params[name] = entry, index
            if entry.layout == "transpose":
                modules[name.removesuffix(WEIGHT)] = Place(module, index)
                kernels[module] = shapes[entry.path]
    tied = {layout.own_name(name): layout.own_name(read) for name, read in tied_heads(model)}
    return Names(modules, kernels, params, shapes, {name: read for name, read in tied.items() if name and read})


@functools.lru_cache(maxsize=4)  # it takes a second, and every adapter that is read or written asks for it
def shapes_in(model: ModelConfig) -> Mapping[tuple[str, ...], tuple[int, ...]]:
    """Returns the shape of every parameter of a model by its path."""
    return param_shapes(model)


def pattern_of(modules: Iterable[str], known: Iterable[str]) -> str:
    """Returns a regular expression that matches exactly `modules` among all `known` ones."""
    found = "|".join(grouped(dict.fromkeys(modules, 0), known))
    # transformers 5 has no module for each expert: PEFT looks for the name without a number to put an adapter on all.
    return found.replace(r"\.experts\.\d+\.", r"\.experts\.(\d+\.)?")


def grouped(values: Mapping[str, float], known: Iterable[str]) -> dict[str, float]:
    """Returns values of modules by regular expressions.

    Modules that differ only in the numbers of layers and experts share an expression where all known ones of that kind
    have the same value.
    """
    counts = Counter(_kind(name) for name in known)
    kinds: dict[str, dict[str, float]] = {}
    for name, value in values.items():
        kinds.setdefault(_kind(name), {})[name] = value
    found: dict[str, float] = {}
    for kind, members in kinds.items():
        if len(members) == counts[kind] and len(set(members.values())) == 1:
            found[kind] = next(iter(members.values()))
        else:
            found |= {re.escape(name): value for name, value in members.items()}
    return found


def _kind(name: str) -> str:
    r"""Returns a module's name as a regular expression, with `\d+` for the numbers in it."""
    return re.sub(r"(?<=\\\.)\d+(?=\\\.)", r"\\d+", re.escape(name))
