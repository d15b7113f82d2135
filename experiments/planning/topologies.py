"""Devices to plan for: TPUs or GPUs that are not there, the GPUs that are, or a CPU that plays several devices."""

import dataclasses
import platform
import re
from collections.abc import Sequence
from typing import Any, Final

import jax
from jax.experimental import topologies

from experiments.planning.gpu_targets import FLAGS, TARGETS, target_config
from fac_jax.parallel.chips import CHIPS, Chip, chip_of
from fac_jax.types import InputError

DIMENSIONS: Final = {"v5e": 2, "v5p": 3, "v6e": 2}  # of the torus that a slice is cut from
FORMS: Final = (
    "v5e:4x4, v6e:8x8, v5p:2x2x4 (TPU slices), h100:8, rtx4090:1, l40s:1, b200:2x8 (GPUs, hosts x GPUs), gpu, cpu:8"
)


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices that a program is compiled for.

    Attributes:
      name: as it was asked for.
      devices: for a mesh; they run nothing if they are not there.
      chip: what each of them can do; None if that is not known.
      sides: of a TPU slice; a number of devices else.
      of_host: devices that are joined by links, beyond which a GPU needs a network; all those of a TPU slice.
      spare: memory of a program over what the compiler says, as a factor; for GPUs that are not there, on which it
        cannot try kernels out: a step of the 8B took 1.03 times as much on an H200.
    """

    name: str
    devices: Sequence[Any]
    chip: Chip | None
    sides: tuple[int, ...]
    of_host: int
    spare: float = 1.0


def topology_of(name: str) -> Topology:
    """Devices by name (`FORMS`). Devices of a CPU must have been asked for before jax starts (`fake_devices`).

    Raises:
      InputError: no such topology, no libtpu to compile for a TPU, or no such devices here.
    """
    kind, _, shape = name.partition(":")
    if kind in DIMENSIONS:
        return _slice(name, kind, shape)
    if kind in TARGETS:
        return _absent_gpus(name, kind, shape)
    if kind not in ("gpu", "cpu") or not re.fullmatch(r"(\d+)?", shape):
        raise InputError(f"--topology={name}: not known; it is like {FORMS}")
    try:
        devices = jax.devices(kind)
    except RuntimeError:
        raise InputError(f"--topology={name}: there is no {kind} here") from None
    count = int(shape or len(devices))
    if not 0 < count <= len(devices):
        raise InputError(f"--topology={name}: there are {len(devices)} devices of kind {devices[0].device_kind}")
    here = jax.local_device_count() if kind == "gpu" else count
    return Topology(name, devices[:count], chip_of(devices[0].device_kind), (count,), here)


def _absent_gpus(name: str, kind: str, shape: str) -> Topology:
    counts = [int(count) for count in shape.split("x")] if re.fullmatch(r"[1-9]\d*(x[1-9]\d*)?", shape) else []
    if not counts:
        raise InputError(f"--topology={name}: give GPUs of one host, {kind}:8, or hosts x GPUs, {kind}:2x8")
    hosts, each = (1, *counts)[-2:]
    try:
        found = topologies.get_topology_desc(
            platform="cuda", target_config=target_config(kind), topology=f"1x{hosts}x{each}"
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--topology={name}: compiling for a GPU that is not here needs Python 3.12, here is "
            f"{platform.python_version()}, and pip install -e '.[cuda]' ({reason})"
        ) from error
    return Topology(name, found.devices, CHIPS[kind], (hosts * each,), each, spare=1.05)


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
            reason = f"compiling for a TPU that is not here needs libtpu: pip install -e '.[tpu]' ({reason})"
        raise InputError(f"--topology={name}: {reason}") from error
    return Topology(name, found.devices, CHIPS[kind], sides, len(found.devices))


def flags_of(name: str) -> str | None:
    """The flags of XLA that a topology needs before jax starts; None without any.

    A CPU plays the devices of `cpu:N`; GPUs that are not there cannot try kernels out.
    """
    found = re.fullmatch(r"cpu:(\d+)", name)
    if found:
        return f"--xla_force_host_platform_device_count={found[1]}"
    return FLAGS if name.partition(":")[0] in TARGETS else None
