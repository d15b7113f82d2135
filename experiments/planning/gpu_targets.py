"""Descriptions of NVIDIA GPUs from which XLA compiles for them where there is none (XLA's `GpuTargetConfigProto`).

A compiler that has no GPU can neither try out kernels nor ask cuDNN for the size of a workspace: with `FLAGS` it
chooses products by a cost model, and `hlo.cudnn_workspace` adds what cuDNN takes.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final
from unittest import mock

import jax
from jax._src.cudnn import fused_attention_stablehlo as fused

from fac_jax.parallel.chips import CHIPS

FLAGS: Final = "--xla_gpu_autotune_level=0"


# What jax would ask of a driver and of cuDNN before it lowers attention for a GPU.
CUDNN: Final = 91_000


@dataclasses.dataclass(frozen=True)
class Target:
    """What the compiler reads of a GPU, beside the memory and the bandwidth of its `Chip`.

    Attributes:
      chip: name in `CHIPS`.
      capability: compute capability, major and minor.
      cores: streaming multiprocessors.
      clock: GHz.
      l2: bytes of the second cache.
      shared: KiB of shared memory of a multiprocessor; a block can have one less.
      threads: of a multiprocessor at a time.
    """

    chip: str
    capability: tuple[int, int]
    cores: int
    clock: float
    l2: int
    shared: int = 228
    threads: int = 2048


TARGETS: Final = {
    target.chip: target
    for target in (
        Target("h100", (9, 0), 132, 1.98, 50 * 2**20),
        Target("h200", (9, 0), 132, 1.98, 50 * 2**20),
        Target("b200", (10, 0), 148, 1.965, 126 * 2**20),
        Target("rtx4090", (8, 9), 128, 2.52, 72 * 2**20, 100, 1536),
        Target("l40s", (8, 9), 142, 2.52, 96 * 2**20, 100, 1536),
    )
}


@contextlib.contextmanager
def asked_of(name: str) -> Iterator[None]:
    """Answers for a GPU of `TARGETS` what jax asks of the GPU of this machine before it lowers its kernels for GPUs."""
    target = TARGETS[name]
    capability = target.capability

    def at_least(wanted: str) -> bool:
        return capability >= tuple(map(int, wanted.split(".")))

    def equal(wanted: str) -> bool:
        return capability == tuple(map(int, wanted.split(".")))

    answers = {
        "check_cudnn_version": lambda: CUDNN,
        "check_compute_capability": at_least,
        "is_cuda_compute_capability_equal": equal,
    }
    with contextlib.ExitStack() as stack:
        for asked, answer in answers.items():
            stack.enter_context(mock.patch.object(fused, asked, answer))
        # The grouped product asks the first device for its cores.
        stack.enter_context(mock.patch.object(jax, "devices", lambda: [SimpleNamespace(core_count=target.cores)]))
        yield


def target_config(name: str) -> str:
    """Returns the description of a GPU of `TARGETS` as the text of a protocol buffer."""
    target, chip = TARGETS[name], CHIPS[name]
    major, minor = target.capability
    return f"""
gpu_device_info {{
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: {48 * 2**10}
  shared_memory_per_core: {target.shared * 2**10}
  threads_per_core_limit: {target.threads}
  core_count: {target.cores}
  fpus_per_core: 128
  block_dim_limit_x: {2**31 - 1}
  block_dim_limit_y: {2**16 - 1}
  block_dim_limit_z: {2**16 - 1}
  memory_bandwidth: {int(chip.hbm_bandwidth)}
  l2_cache_size: {target.l2}
  clock_rate_ghz: {target.clock}
  device_memory_size: {int(chip.hbm_bytes)}
  shared_memory_per_block_optin: {(target.shared - 1) * 2**10}
  cuda_compute_capability {{ major: {major} minor: {minor} }}
  registers_per_core_limit: {2**16}
  registers_per_block_limit: {2**16}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 }}
runtime_version {{ major: 13 minor: 0 }}
device_description_str: "{chip.kinds[0]}"
"""
