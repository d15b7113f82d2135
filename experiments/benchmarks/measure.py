"""Measurement tools of the benchmarks: copy bandwidth, compiled programs, times of runs."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fac_jax.parallel.kernels import grouped_product
from fac_jax.training.overview import compiled_memory

COPIED = 256 * 2**20  # bytes, much more than any cache holds
PRODUCT = {"cpu": 2048, "accelerator": 8192}  # rows and columns of a matrix
GROUPED = {"cpu": (1024, 256, 128), "accelerator": (16_384, 2048, 768)}  # rows, and widths of experts as in 30B-A3B
EXPERTS = 16  # those of a device if eight share them


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function of arrays, the seconds of its compilation, and the bytes that it has in memory at once."""

    run: Callable[..., Any]
    compile_seconds: float
    bytes: int


def compiled(function: Any, *arguments: Any, **options: Any) -> Program:
    """Compiles a jitted function for arguments and options, static ones included."""
    start = time.perf_counter()
    program = function.lower(*arguments, **options).compile()
    seconds = time.perf_counter() - start
    return Program(program, seconds, compiled_memory(program)["total"])


def best(run: Callable[[], Any], repeats: int) -> float:
    """Returns the seconds of the fastest of `repeats` runs, after one that does not count."""
    once(run)
    return min(once(run) for _ in range(repeats))


def once(run: Callable[[], Any]) -> float:
    """Returns the seconds of one run."""
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def copy_bandwidth(repeats: int = 5) -> float:
    """Measures the bytes per second of copying a large array, counting bytes read and bytes written."""
    source, target = jnp.ones(COPIED // 4, jnp.float32), jnp.zeros(COPIED // 4, jnp.float32)
    copy = jax.jit(lambda source, target: -source, donate_argnums=1, keep_unused=True)

    def run() -> jax.Array:
        nonlocal target
        target = copy(source, target)
        return target

    return 2 * COPIED / best(run, repeats)


def product_rate(dtype: str, repeats: int = 10) -> float:
    """Measures the FLOP/s of the product of two large square matrices of random numbers."""
    size = PRODUCT[_size()]
    one, other = jax.random.normal(jax.random.key(0), (2, size, size)).astype(dtype)
    product = jax.jit(lambda a, b: a @ b)
    return 2 * size**3 / best(lambda: product(one, other), repeats)


def grouped_rate(products: int, repeats: int = 10) -> float:
    """Measures the FLOP/s of the grouped product of experts in bfloat16, all experts with the same number of rows.

    Args:
      products: 1 is the forward pass, 3 the gradients of rows and kernels behind it.
    """
    rows, width, hidden = GROUPED[_size()]
    keys = jax.random.split(jax.random.key(0))
    inputs = jax.random.normal(keys[0], (rows, width), jnp.bfloat16)
    kernels = jax.random.normal(keys[1], (EXPERTS, width, hidden), jnp.bfloat16)
    sizes = jnp.full(EXPERTS, rows // EXPERTS, jnp.int32)
    product = grouped_product(None)

    def forward(inputs: jax.Array, kernels: jax.Array) -> jax.Array:
        return product(inputs, kernels, sizes)

    def both(inputs: jax.Array, kernels: jax.Array) -> Any:
        made, back = jax.vjp(forward, inputs, kernels)
        return made, back(made)

    run = jax.jit(both if products == 3 else forward)
    return products * 2 * rows * width * hidden / best(lambda: run(inputs, kernels), repeats)


def _size() -> str:
    return "cpu" if jax.default_backend() == "cpu" else "accelerator"
