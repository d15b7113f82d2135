"""Measurement tools of the benchmarks: copy bandwidth, compiled programs, times of runs."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from fac_jax.training.overview import compiled_memory

COPIED = 256 * 2**20  # bytes, much more than any cache holds
PRODUCT = {"cpu": 2048, "accelerator": 8192}  # rows and columns of a matrix


@dataclasses.dataclass(frozen=True)
class Program:
    """A compiled function of arrays, the seconds of its compilation, and the bytes that it has in memory at once."""

    run: Callable[..., Any]
    compile_seconds: float
    bytes: int


def compiled(function: Any, *arguments: Any) -> Program:
    """Compiles a jitted function for arguments, static ones included."""
    start = time.perf_counter()
    program = function.lower(*arguments).compile()
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
    size = PRODUCT["cpu" if jax.default_backend() == "cpu" else "accelerator"]
    one, other = jax.random.normal(jax.random.key(0), (2, size, size)).astype(dtype)
    product = jax.jit(lambda a, b: a @ b)
    return 2 * size**3 / best(lambda: product(one, other), repeats)
