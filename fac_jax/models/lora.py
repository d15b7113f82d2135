"""Low-rank adapters (LoRA, Hu et al. 2021) as a function of a model's parameters.

An adapter is three leaves next to a kernel `[.., in, out]` (`layers.linear.LORA`), where `..` are the axes of stacked
layers and experts: "lora_a" `[.., in, r]`, "lora_b" `[.., r, out]` and "lora_scale" `[..]`, all float32. The layer then
computes `x @ W + ((x @ A) @ B) * scale`. A kernel that is a leaf of its own, as that of experts, has its name before
theirs: "moe/gate" has "moe/gate_lora_a". Without these leaves the parameters are those of the base.

The path of a module is that of its kernel without the name "kernel": "backbone/decoder/layers_0/attention/q".
"""

import dataclasses
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Float, Float32, Key

from fac_jax.layers.linear import LORA, LORA_A, LORA_B, LORA_SCALE
from fac_jax.layers.param import SEP
from fac_jax.types import Array, InputError, Params

# Regular expressions of modules, by the names that a config gives them; they match the beginning of a module's path.
TARGETS: Final[Mapping[str, str]] = {
    "llm": r"backbone/decoder/.*(attention|mlp)/",
    "head": r"refined_head/(decoder/.*(attention|mlp)/|(pre|input|output)$)",
    "bridge": r"(speech_embedder/(discrete|continuous)|encoder/proj)$",
    "encoder": r"encoder/layers",
    "experts": r"backbone/decoder/.*/moe/(gate|up|down)$",
}
TABLES: Final = "tables"  # a target whose parameters have no adapter: they train in full
TRAINED_TABLES: Final = (r"backbone/(un)?embed/", r"speech_embedder/embed/")
_EXPERT: Final = rf".+{SEP}moe{SEP}(gate|up|down)"  # module of one kernel of all experts
_KERNEL: Final = re.compile(rf"(?!encoder{SEP}conv)(.+){SEP}kernel|({_EXPERT})")
_LEAF: Final = re.compile(f"[{SEP}_]({'|'.join(LORA)})$")


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Which kernels of a model get an adapter, and how large it is.

    Attributes:
      targets: names of `TARGETS`, or regular expressions of module paths; "tables" trains the tables of text and speech
        ids in full.
      rank: r.
      alpha: the scale is alpha / r.
      rslora: whether the scale is alpha / sqrt(r) (Kalajdzievski 2023).
      expert_rank: r of the adapters of experts, of which a token reads several; their scale is that of the others.
      init_from: folder of an adapter in PEFT's format to start from; None for a fresh one.

    Raises:
      InputError: a number or a pattern that no adapter can have.
    """

    targets: tuple[str, ...] = ("llm", "head")
    rank: int = 16
    alpha: float = 32.0
    rslora: bool = False
    expert_rank: int = 2
    init_from: str | None = None

    def __post_init__(self) -> None:
        for name in ("rank", "expert_rank"):
            if getattr(self, name) < 1:
                raise InputError(f"lora.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.alpha < math.inf:
            raise InputError(f"lora.alpha is {self.alpha}; it must be more than 0")
        for target in self.targets:
            try:
                re.compile(target)
            except re.error as error:
                known = ", ".join((*TARGETS, TABLES))
                raise InputError(f"lora.targets: {target!r} is none of {known}, and no pattern: {error}") from None

    @property
    def scale(self) -> float:
        """Returns the factor of the low-rank products."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Returns the regular expressions of the parameters that train: A, B and tables."""
        return (r".*lora_[ab]$", *(TRAINED_TABLES if TABLES in self.targets else ()))


def is_leaf(path: str) -> bool:
    """Returns whether the path of a parameter is that of an adapter's leaf."""
    return _LEAF.search(path) is not None


def kernels(paths: Iterable[str]) -> dict[str, str]:
    """Returns the paths of the kernels that may have an adapter, by the path of their module.

    Args:
      paths: those of all parameters.
    """
    found = {path: _KERNEL.fullmatch(path) for path in paths}
    return {match[1] or match[2]: path for path, match in found.items() if match}


def leaf_paths(module: str) -> tuple[str, str, str]:
    """Returns the paths of the three leaves of a module, in the order of `LORA`."""
    before = module + ("_" if re.fullmatch(_EXPERT, module) else SEP)
    return before + LORA_A, before + LORA_B, before + LORA_SCALE


def chosen(paths: Iterable[str], config: LoraConfig) -> dict[str, tuple[str, int]]:
    """Returns the kernel and the rank of every module that gets an adapter.

    Args:
      paths: those of all parameters.

    Raises:
      InputError: targets that match no module, or only modules without a kernel `[in, out]`; names all of them.
    """
    paths = list(paths)
    known, found, faults = kernels(paths), set[str](), list[str]()
    for target in config.targets:
        if target == TABLES:
            continue
        pattern = TARGETS.get(target, target)
        hits = {module for module in known if re.match(pattern, module)}
        if not hits:
            other = next((path for path in paths if re.match(pattern, path)), None)
            faults.append(f"{target!r} matches no {'parameter' if other is None else f'kernel: {other} is none'}")
        found |= hits
    if faults:
        raise InputError(f"lora.targets: {'; '.join(faults)}; sets are {', '.join((*TARGETS, TABLES))}")
    ranks = {module: config.expert_rank if re.fullmatch(_EXPERT, module) else config.rank for module in known}
    return {module: (kernel, ranks[module]) for module, kernel in known.items() if module in found}


def attach(params: Params, config: LoraConfig, key: Key[jax.Array, ""]) -> Params:
    """Returns the parameters with a fresh adapter, which changes no result; see `fresh`."""
    return _joined(params, fresh(params, config, key))


def fresh(params: Params, config: LoraConfig, key: Key[jax.Array, ""]) -> Params:
    """Returns the leaves of a new adapter: A is uniform from -1 / sqrt(in) to 1 / sqrt(in), as in PEFT, and B is zero.

    The numbers of a module do not depend on what else has an adapter.

    Args:
      params: parameters of the model, or their shapes.

    Raises:
      InputError: see `chosen`.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    leaves: dict[str, jax.Array] = {}
    for module, (kernel, rank) in chosen(flat, config).items():
        *stack, inward, outward = flat[kernel].shape
        own, reach = jax.random.fold_in(key, zlib.crc32(module.encode())), inward**-0.5
        a = jax.random.uniform(own, (*stack, inward, rank), jnp.float32, -reach, reach)
        b = jnp.zeros((*stack, rank, outward), jnp.float32)
        leaves |= dict(zip(leaf_paths(module), (a, b, jnp.full(stack, config.scale, jnp.float32)), strict=True))
    return traverse_util.unflatten_dict(leaves, sep=SEP)


def _joined(params: Params, leaves: Params) -> Params:
    flat = traverse_util.flatten_dict(params) | traverse_util.flatten_dict(leaves)
    return traverse_util.unflatten_dict(flat)


def attach_boxes(boxed: Params, config: LoraConfig) -> Params:
    """Returns the shapes of a model's parameters with those of an adapter, boxed with the logical names of their axes.

    A and B have the names of the kernel's dimensions; their rank has none, so that it is whole on every device.

    Args:
      boxed: `jax.eval_shape` of `boxed_params`.

    Raises:
      InputError: see `chosen`.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(boxed, sep=SEP)
    for module, (kernel, rank) in chosen(flat, config).items():
        *stack, inward, outward = flat[kernel].value.shape
        *names, into, out = flat[kernel].names
        shapes = ((*stack, inward, rank), (*stack, rank, outward), tuple(stack))
        axes = ((*names, into, None), (*names, None, out), tuple(names))
        for path, shape, its in zip(leaf_paths(module), shapes, axes, strict=True):
            flat[path] = nn.LogicallyPartitioned(jax.ShapeDtypeStruct(shape, jnp.float32), its)
    return traverse_util.unflatten_dict(flat, sep=SEP)


def detach(params: Params) -> Params:
    """Returns the base: the parameters without an adapter."""
    flat = traverse_util.flatten_dict(params, sep=SEP)
    return traverse_util.unflatten_dict({path: leaf for path, leaf in flat.items() if not is_leaf(path)}, sep=SEP)


def adapter_of(params: Params) -> Params:
    """Returns the leaves of the adapter alone; empty without one."""
    flat = traverse_util.flatten_dict(params, sep=SEP)
    return traverse_util.unflatten_dict({path: leaf for path, leaf in flat.items() if is_leaf(path)}, sep=SEP)


def with_adapter(params: Params, adapter: Params) -> Params:
    """Returns the base with an adapter, which takes the place of one that is there.

    Shapes are enough for `params`.

    Raises:
      InputError: the adapter is not one of this model; names all leaves that do not fit.
    """
    base: dict[str, Any] = traverse_util.flatten_dict(detach(params), sep=SEP)
    leaves: dict[str, Any] = traverse_util.flatten_dict(adapter, sep=SEP)
    faults, known = [], kernels(base)
    homes = {path: module for module in known for path in leaf_paths(module)}
    faults += [f"{path} belongs to no kernel of the model" for path in sorted(leaves.keys() - homes.keys())]
    for module in sorted({homes[path] for path in leaves if path in homes}):
        lacking = [path for path in leaf_paths(module) if path not in leaves]
        if lacking:
            faults.append(f"{module} lacks {' and '.join(lacking)}")
            continue
        a, b, scale = (tuple(leaves[path].shape) for path in leaf_paths(module))
        *stack, inward, outward = base[known[module]].shape
        fits = a[:-1] == (*stack, inward) and b == (*stack, a[-1], outward) and scale == tuple(stack)
        if not fits:
            faults.append(f"{module} is {(*stack, inward, outward)}, but A is {a}, B is {b} and the scale is {scale}")
    if faults:
        raise InputError(f"adapter of another model: {'; '.join(faults)}")
    return traverse_util.unflatten_dict(base | leaves, sep=SEP)


def merge(params: Params) -> Params:
    """Returns the model that an adapter makes: kernels `W + scale * A @ B`, without the leaves.

    The sum is float32 and is rounded once to the dtype of the kernel. One layer's is computed at a time. A kernel that
    is a NumPy array stays in the host's memory.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    for module, kernel in kernels(flat).items():
        a, b, scale = (flat.pop(path, None) for path in leaf_paths(module))
        if a is not None:
            found = merged(flat[kernel], a, b, scale)
            flat[kernel] = np.asarray(found) if isinstance(flat[kernel], np.ndarray) else found
    return traverse_util.unflatten_dict(flat, sep=SEP)


@jax.jit
def merged(
    kernel: Float[Array, "*stack D F"],
    a: Float32[Array, "*stack D r"],
    b: Float32[Array, "*stack r F"],
    scale: Float32[Array, "*stack"],
) -> Float[jax.Array, "*stack D F"]:
    """Computes `W + scale * A @ B` in float32, in the dtype of the kernel; the first axis of a stack is a loop."""

    def layer(each: tuple[jax.Array, ...]) -> jax.Array:
        kernel, a, b, scale = each
        change = jnp.matmul(a, b, precision="highest") * scale[..., None, None]
        return (kernel.astype(jnp.float32) + change).astype(kernel.dtype)

    leaves = tuple(jnp.asarray(each) for each in (kernel, a, b, scale))
    return layer(leaves) if kernel.ndim == 2 else jax.lax.map(layer, leaves)
