"""What XLA is told when it compiles a training step, by kind of device."""

from collections.abc import Mapping
from typing import Final, TypeAlias

import jax

from fac_jax.parallel.mesh import Layout

Options: TypeAlias = Mapping[str, bool | int | str]

OPTIONS: Final[Mapping[str, Options]] = {
    "gpu": {
        # Layers are scanned over stacked parameters. A product of cuBLAS reads the parameters of its layer, and writes
        # their gradients, where they lie in the stack; one that XLA generates needs a copy of them.
        "xla_gpu_enable_triton_gemm": False,
    },
}


def compiler_options(layout: Layout | None) -> Options:
    """Options for the devices of a layout, or for the default device; empty where XLA's own defaults are best."""
    return OPTIONS.get(jax.default_backend() if layout is None else layout.platform, {})
