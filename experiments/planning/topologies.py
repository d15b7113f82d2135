"""Devices to plan for: a TPU slice that is not there, the GPUs that are, or a CPU that plays several devices."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Final

import jax
from jax.experimental import topologies

from fac_jax.parallel.chips import CHIPS, Chip, chip_of
from fac_jax.types import InputError

DIMENSIONS: Final = {"v5e": 2, "v5p": 3, "v6e": 2}  # of the torus that a slice is cut from
FORMS: Final = "v5e:4x4, v6e:8x8, v5p:2x2x4 (TPU slices), gpu, cpu:8"


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices that a program is compiled for.

    Attributes:
      name: as it was asked for.
      devices: for a mesh; they run nothing if they are not there.
      chip: what each of them can do; None if that is not known.
      sides: of a TPU slice; a number of devices else.
    """

    name: str
    devices: Sequence[Any]
    chip: Chip | None
    sides: tuple[int, ...]


def topology_of(name: str) -> Topology:
    """Devices by name (`FORMS`). Devices of a CPU must have been asked for before jax starts (`fake_devices`).

    Raises:
      InputError: no such topology, no libtpu to compile for a TPU, or no such devices here.
    """
    kind, _, shape = name.partition(":")
    if kind in DIMENSIONS:
        return _slice(name, kind, shape)
    if kind not in ("gpu", "cpu") or not re.fullmatch(r"(\d+)?", shape):
        raise InputError(f"--topology={name}: not known; it is like {FORMS}")
    try:
        devices = jax.devices(kind)
    except RuntimeError:
        raise InputError(f"--topology={name}: there is no {kind} here") from None
    count = int(shape or len(devices))
    if not 0 < count <= len(devices):
        raise InputError(f"--topology={name}: there are {len(devices)} devices of kind {devices[0].device_kind}")
    return Topology(name, devices[:count], chip_of(devices[0].device_kind), (count,))


def _slice(name: str, kind: str, shape: str) -> Topology:
    sides = tuple(int(side) for side in shape.split("x")) if re.fullmatch(r"\d+(x\d+)*", shape) else ()
    if len(sides) != DIMENSIONS[kind]:
        example = "x".join(["4"] * DIMENSIONS[kind])
        raise InputError(f"--topology={name}: a slice of {kind} has {DIMENSIONS[kind]} sides, {kind}:{example}")
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        if "libtpu" in reason or "tpu" in reason.lower() and "not" in reason.lower():
            reason = f"compiling for a TPU that is not here needs libtpu: pip install 'fac_jax[tpu]' ({reason})"
        raise InputError(f"--topology={name}: {reason}") from error
    return Topology(name, found.devices, CHIPS[kind], sides)


def fake_devices(name: str) -> str | None:
    """The flag of XLA that makes a CPU play the devices of `cpu:N`; None for any other topology."""
    found = re.fullmatch(r"cpu:(\d+)", name)
    return f"--xla_force_host_platform_device_count={found[1]}" if found else None
