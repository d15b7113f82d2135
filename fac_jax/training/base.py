"""The base of an adapter in fewer bits (QLoRA, Dettmers et al., arXiv 2305.14314).

Parameters are nested dicts, in which a `FrozenKernel` is one leaf in the place of an array, and an `Int8Rows` in that
of a table.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.sharding import NamedSharding, PartitionSpec

from fac_jax.layers.frozen import FrozenKernel, FrozenNormal, Rounded, normal_refusal, to_frozen_int8, to_normal
from fac_jax.layers.matrices import Int8Rows
from fac_jax.layers.param import SEP
from fac_jax.models.lora import kernels
from fac_jax.types import InputError, Params

Form: TypeAlias = Literal["int8", "nf4"]
TO_NORMAL: Final = {rounded: functools.partial(to_normal, rounded=rounded) for rounded in (False, True)}
_ROUTER: Final = re.compile(rf".*{SEP}router$")  # decides by small differences
_TABLE: Final = re.compile(rf".*{SEP}embedding$")


@dataclasses.dataclass(frozen=True)
class BaseConfig:
    """In which form the kernels that no adapter changes are held while a stage trains.

    Norms, biases, convolutions and the routers of experts stay as they are.

    Attributes:
      quantise: "int8", a scale for each output; "nf4", 16 levels and a scale for each 64 weights; None leaves all
        kernels as they are.
      skip: regular expressions of modules that stay as they are; they match the beginning of a module's path.
      double: nf4: whether the scales are rounded to 8 bits, which saves 0.37 bits a weight.
      tables: whether the tables of text and speech ids are int8, with a scale for each row.
    """

    quantise: Form | None = None
    skip: tuple[str, ...] = ("encoder/",)
    double: bool = True
    tables: bool = False

    def __post_init__(self) -> None:
        for pattern in self.skip:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"base.skip: {pattern!r} is no regular expression: {error}") from None

    @property
    def changes(self) -> bool:
        """Returns whether anything is held in another form."""
        return self.quantise is not None or self.tables


def quantised(params: Params, config: BaseConfig, patterns: Sequence[str]) -> Params:
    """Returns the shapes, dtypes and, on a mesh, shardings of a model's parameters with its base in fewer bits.

    Codes are divided over a mesh as their kernel is.

    Args:
      params: abstract parameters.
      patterns: of the parameters that train (`trainable.split`).

    Raises:
      InputError: a pattern of `skip` matches no module, a kernel trains or has no such form; names all of them.
    """
    if not config.changes:
        return params
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    found = {module: path for module, path in kernels(flat).items() if not _ROUTER.match(module)}
    faults = [f"skip: {one!r} matches no module" for one in config.skip if not _any([one], found)]
    made: dict[str, Callable[[Any], Any]] = {}
    if config.quantise is not None:
        kept = {module for module in found if _any(config.skip, [module])}
        made = dict.fromkeys((path for module, path in found.items() if module not in kept), _maker(config))
    if config.tables:
        made |= dict.fromkeys(filter(_TABLE.match, flat), _table)
    for path in made:
        trains = next((one for one in patterns if re.match(one, path)), None)
        if trains is not None:
            faults.append(f"{path} trains ({trains!r}), so that it cannot be held in fewer bits: leave one of them out")
        elif config.quantise == "nf4" and not _TABLE.match(path):
            refusal = normal_refusal(flat[path].shape)
            faults += [f"{path}: {refusal}"] if refusal else []
    if faults:
        raise InputError(f"base: {'; '.join(faults)}")
    forms = {path: _shapes(flat[path], make) for path, make in made.items()}
    return traverse_util.unflatten_dict(flat | forms, sep=SEP)


def _any(patterns: Sequence[str], modules: Any) -> bool:
    return any(re.match(pattern, module) for pattern in patterns for module in modules)


def _maker(config: BaseConfig) -> Callable[[Any], FrozenKernel]:
    return to_frozen_int8 if config.quantise == "int8" else TO_NORMAL[config.double]


def _table(values: jax.Array) -> Int8Rows:
    return Int8Rows.of(values, "float32")


def _shapes(leaf: Any, make: Callable[[Any], Any]) -> Any:
    """Returns the abstract form of a stack of kernels `[.., D, F]`, or of a table, divided as its array is."""
    stack = len(leaf.shape) - 2
    form = jax.eval_shape(_over(make, stack), leaf)
    if leaf.sharding is None:
        return form
    mesh = leaf.sharding.mesh
    names = [*leaf.sharding.spec, *[None] * (len(leaf.shape) - len(leaf.sharding.spec))]
    names[stack:] = names[stack:] if isinstance(form, Int8Rows) else names[:-3:-1]

    def placed(part: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        own = zip(part.shape, names, strict=False)
        spec = PartitionSpec(*(name if size % _devices(mesh, name) == 0 else None for size, name in own))
        return jax.ShapeDtypeStruct(part.shape, part.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(placed, form)


def _devices(mesh: Any, name: str | tuple[str, ...] | None) -> int:
    axes = (name,) if isinstance(name, str) else name or ()
    return math.prod(mesh.shape[axis] for axis in axes)


def _over(make: Callable[[Any], Any], axes: int) -> Callable[[Any], Any]:
    for _ in range(axes):
        make = jax.vmap(make)
    return make


def quantise(params: Params, shapes: Params) -> Params:
    """Brings parameters to the forms, dtypes and shardings of `quantised`, one layer of a kernel at a time.

    Args:
      params: nested dict of arrays, or of what gives arrays when it is indexed or converted (`checkpoint.lazy`), so
        that no kernel is whole in memory as it was trained.
      shapes: result of `quantised`.
    """
    given: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    wanted: dict[str, Any] = traverse_util.flatten_dict(shapes, sep=SEP)
    found = {path: _held(given[path], form) for path, form in wanted.items()}
    return traverse_util.unflatten_dict(found, sep=SEP)


def _held(leaf: Any, form: Any) -> Any:
    where = jax.tree.map(lambda part: part.sharding, form)
    if not isinstance(form, FrozenKernel | Int8Rows):
        array = leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)
        return jax.device_put(array.astype(form.dtype), where)
    *stack, _, _ = form.shape
    make = _compiled(_of(form), max(len(stack) - 1, 0))
    if not stack:
        return jax.device_put(make(jnp.asarray(leaf)), where)
    layers = [make(jnp.asarray(leaf[i])) for i in range(stack[0])]
    return jax.device_put(jax.tree.map(lambda *parts: jnp.stack(parts), *layers), where)


@functools.cache
def _compiled(make: Callable[[Any], Any], axes: int) -> Callable[[Any], Any]:
    return jax.jit(_over(make, axes))


def _of(form: FrozenKernel | Int8Rows) -> Callable[[Any], Any]:
    """Returns what brings values into the form of an abstract one."""
    if isinstance(form, FrozenNormal):
        return TO_NORMAL[isinstance(form.greatest, Rounded)]
    return _table if isinstance(form, Int8Rows) else to_frozen_int8


def widened(params: Params, start: Params) -> Params:
    """Returns parameters with those that a stage started from in place of what `quantise` made of them, as they were.

    Args:
      start: as `quantise` takes them.
    """
    flat: dict[str, Any] = traverse_util.flatten_dict(params, sep=SEP)
    given: dict[str, Any] = traverse_util.flatten_dict(start, sep=SEP)
    for path, leaf in flat.items():
        if isinstance(leaf, FrozenKernel | Int8Rows):
            flat[path] = given[path] if isinstance(given[path], jax.Array) else np.asarray(given[path])
    return traverse_util.unflatten_dict(flat, sep=SEP)
