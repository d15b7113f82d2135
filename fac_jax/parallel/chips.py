"""Peak rates and memory of accelerators, as their manufacturers state them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Final


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device of a kind of accelerator.

    Attributes:
      name: its common name, as in the names of topologies.
      kinds: values of `jax.Device.device_kind` for it.
      peak_flops: dense bfloat16 FLOP/s.
      hbm_bytes: bytes of memory that a program can use: for a TPU as libtpu reports, for a GPU all of its memory.
      hbm_bandwidth: bytes per second of that memory.
      link_bandwidth: bytes per second that it can send to its neighbours over all its links together.
      source: address of these figures.
      network_bandwidth: of a GPU, bytes per second that it can send to GPUs of other hosts, each GPU with an adapter of
        its own; None for a TPU, whose links reach all chips of a slice, and for a card that is sold without a host.
    """

    name: str
    kinds: tuple[str, ...]
    peak_flops: float
    hbm_bytes: float
    hbm_bandwidth: float
    link_bandwidth: float
    source: str
    network_bandwidth: float | None = None


_TPU, _GPU = "https://cloud.google.com/tpu/docs", "https://www.nvidia.com/en-us/data-center"
_ADA = "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"
# TPU links in one direction: v4 2400, v5e 1600, v5p 4800, v6e 3200 Gbit/s. NVLink: half of the total of both. Adapters
# of NVIDIA's own machines of eight GPUs: 200 Gbit/s (DGX A100), 400 Gbit/s (DGX H100, H200, B200). Cards without NVLink
# have PCIe 4.0 x16, 32 GB/s in each direction; their tensor cores' rate is that with sums in float32.
CHIPS: Final = {
    chip.name: chip
    for chip in (
        Chip("v4", ("TPU v4",), 275e12, 30.5 * 2**30, 1.2e12, 300e9, f"{_TPU}/v4"),
        Chip("v5e", ("TPU v5 lite", "TPU v5e"), 197e12, 15.75 * 2**30, 819e9, 200e9, f"{_TPU}/v5e"),
        Chip("v5p", ("TPU v5", "TPU v5p"), 459e12, 95.74 * 2**30, 2765e9, 600e9, f"{_TPU}/v5p"),
        Chip("v6e", ("TPU v6 lite", "TPU v6e"), 918e12, 31.25 * 2**30, 1600e9, 400e9, f"{_TPU}/v6e"),
        Chip("a100-40gb", ("NVIDIA A100-SXM4-40GB",), 312e12, 40e9, 1555e9, 300e9, f"{_GPU}/a100", 25e9),
        Chip("a100-80gb", ("NVIDIA A100-SXM4-80GB",), 312e12, 80e9, 2039e9, 300e9, f"{_GPU}/a100", 25e9),
        Chip("h100", ("NVIDIA H100 80GB HBM3",), 989e12, 80e9, 3350e9, 450e9, f"{_GPU}/h100", 50e9),
        Chip("h200", ("NVIDIA H200",), 989e12, 141e9, 4800e9, 450e9, f"{_GPU}/h200", 50e9),
        Chip("rtx4090", ("NVIDIA GeForce RTX 4090",), 165.2e12, 24e9, 1008e9, 32e9, _ADA),
        Chip("l40s", ("NVIDIA L40S",), 362.05e12, 48e9, 864e9, 32e9, f"{_GPU}/l40s"),
        Chip("b200", ("NVIDIA B200",), 2250e12, 180e9, 8000e9, 900e9, f"{_GPU}/dgx-b200", 50e9),
    )
}


def chip_of(kind: str) -> Chip | None:
    """Returns the chip of a `device_kind`; None for one that is not in the table, such as any CPU."""
    return next((chip for chip in CHIPS.values() if kind in chip.kinds), None)


def peak_flops_of(devices: Sequence[Any], each: float | None = None) -> float | None:
    """Returns the peak FLOP/s of devices of one kind together.

    `each` is that of one device; None takes it from the table. The result is None if their kind is not in the table.
    """
    if each is None:
        chip = chip_of(devices[0].device_kind)
        if chip is None:
            return None
        each = chip.peak_flops
    return each * len(devices)
