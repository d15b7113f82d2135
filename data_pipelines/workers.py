"""How a process that makes items begins."""

import os

import jax
import threadpoolctl


def start_worker(index: int, count: int) -> None:
    """A worker takes one core and no accelerator, which belongs to the process that trains.

    Args:
      index: number of the worker.
      count: of all workers.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    jax.config.update("jax_platforms", "cpu")
    threadpoolctl.threadpool_limits(1)
