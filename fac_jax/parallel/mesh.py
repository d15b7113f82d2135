"""A mesh of devices, and the rules by which arrays are sharded over it."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import flax.linen as nn
import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding

from fac_jax import axes
from fac_jax.parallel.rules import DCN_DATA, MESH_AXES, PRESETS, Rules, spec_of
from fac_jax.types import InputError

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_RULES: Final = "fsdp_tensor_expert_context"  # on a mesh without an axis they are those without it
REST = -1  # size of a mesh axis that takes the devices that the others leave


@dataclasses.dataclass(frozen=True)
class Layout:
    """How arrays are sharded.

    Attributes:
      mesh: its axes are all of `rules.MESH_AXES`; an axis that the config does not set has size 1.
      rules: one of `rules.PRESETS`.
    """

    mesh: Mesh
    rules: Rules

    @property
    def platform(self) -> str:
        """Returns the platform of the devices: "cpu", "gpu" or "tpu"."""
        return self.mesh.devices.flat[0].platform

    def axes(self, logical: str) -> tuple[str, ...]:
        """Returns the mesh axes of a logical axis in an array where no other axis takes them first."""
        return next((over for name, over in self.rules if name == logical), ())

    def shards(self, logical: str) -> int:
        """Returns the number of shards of a logical axis in an array where no other axis takes its mesh axes first."""
        return math.prod(self.mesh.shape[axis] for axis in self.axes(logical))

    @property
    def batch_shards(self) -> int:
        """Returns the number of shards of the rows of a batch."""
        return self.shards(axes.BATCH)

    def sharding(self, names: Sequence[str | None], shape: Sequence[int], what: str) -> NamedSharding:
        """Returns the sharding of an array whose dimensions have these logical axes, or None; `what` says what it is.

        Raises:
          InputError: a mesh axis does not divide its dimension of `shape`; names the array.
        """
        spec = spec_of(names, self.rules)
        for dimension, (size, name, over) in enumerate(zip(shape, names, spec, strict=True)):
            taken = (over,) if isinstance(over, str) else over or ()
            parts = math.prod(self.mesh.shape[axis] for axis in taken)
            if size % parts:
                shown = " x ".join(f"{axis}={self.mesh.shape[axis]}" for axis in taken if self.mesh.shape[axis] > 1)
                raise InputError(
                    f"{what}: dimension {dimension} ({name}) of {tuple(shape)} is not divisible by the mesh's {shown}"
                )
        return NamedSharding(self.mesh, spec)

    def inside(self, function: F) -> F:
        """Returns a function whose logical axis names of activations stand for this mesh while it is traced."""

        @functools.wraps(function)
        def traced(*args: Any, **kwargs: Any) -> Any:
            with jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh), nn.logical_axis_rules(self.rules):
                return function(*args, **kwargs)

        return cast(F, traced)


def make_layout(sizes: Mapping[str, int], preset: str = DEFAULT_RULES, devices: Sequence[Any] | None = None) -> Layout:
    """Makes the layout of a config's `mesh` and `rules`.

    Args:
      sizes: number of devices along each mesh axis, `{"fsdp": 8, "tensor": 2}`; one may be -1 for all that are left.
      devices: devices of the mesh, or of a topology that is not attached; None for those of this run.

    Raises:
      InputError: an axis or a preset that does not exist, sizes that do not multiply to the number of devices or, along
        `dcn_data`, of slices, or an axis that the rules leave idle.
    """
    devices = jax.devices() if devices is None else devices
    if preset not in PRESETS:
        raise InputError(f"unknown rules {preset!r}; known: {', '.join(PRESETS)}")
    unknown = [axis for axis in sizes if axis not in MESH_AXES]
    if unknown:
        raise InputError(f"unknown mesh axis {unknown[0]}; known: {', '.join(MESH_AXES)}")
    shape = _shape(sizes, len(devices))
    rules = PRESETS[preset]
    used = {axis for _, over in rules for axis in over}
    idle = [axis for axis, size in shape.items() if size > 1 and axis not in used]
    if idle:
        better = next(name for name, other in PRESETS.items() if any(idle[0] in over for _, over in other))
        raise InputError(f"mesh axis {idle[0]}={shape[idle[0]]} is idle under the rules {preset!r}; take {better!r}")
    return Layout(Mesh(_arranged(shape, devices), MESH_AXES, axis_types=(AxisType.Auto,) * len(MESH_AXES)), rules)


def _shape(sizes: Mapping[str, int], devices: int) -> dict[str, int]:
    shape = {axis: 1 for axis in MESH_AXES} | dict(sizes)
    shown = " x ".join(f"{axis}={size}" for axis, size in sizes.items())
    wrong = [size for size in shape.values() if size < 1 and size != REST]
    free = [axis for axis, size in shape.items() if size == REST]
    if wrong or len(free) > 1:
        raise InputError(f"mesh {shown}: sizes are 1 or more, and at most one is {REST}, for the devices that are left")
    fixed = math.prod(size for size in shape.values() if size != REST)
    if free and devices % fixed == 0:
        shape[free[0]] = devices // fixed
    if math.prod(shape.values()) != devices:
        raise InputError(f"mesh {shown or 'without an axis'} does not multiply to the {devices} devices there are")
    return shape


def _arranged(shape: Mapping[str, int], devices: Sequence[Any]) -> np.ndarray:
    """Arranges devices in an array of the mesh's shape, so that neighbours on its last axes are near each other."""
    slices = {getattr(device, "slice_index", 0) for device in devices}
    if len(slices) == 1:
        return mesh_utils.create_device_mesh(tuple(shape.values()), devices, allow_split_physical_axes=True)
    if shape[DCN_DATA] != len(slices):
        raise InputError(f"mesh {DCN_DATA}={shape[DCN_DATA]}, but the devices are of {len(slices)} slices")
    inside = tuple(1 if axis == DCN_DATA else size for axis, size in shape.items())
    between = tuple(size if axis == DCN_DATA else 1 for axis, size in shape.items())
    return mesh_utils.create_hybrid_device_mesh(inside, between, devices, allow_split_physical_axes=True)
