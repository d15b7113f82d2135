"""Processes that make items."""

import multiprocessing
import multiprocessing.connection
import os
import pickle
import threading
from typing import Any

import grain
import jax
import numpy as np
import threadpoolctl
from absl import flags


def start_worker(index: int, count: int) -> None:
    """A worker takes one core and no accelerator, which belongs to the process that trains, and ends with that."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    jax.config.update("jax_platforms", "cpu")
    threadpoolctl.threadpool_limits(1)
    end_with_parent()


def end_with_parent() -> None:
    """Lets this process end when its parent does: one that is killed leaves it behind, waiting for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _to_bytes(item: Any) -> np.ndarray:
    return np.frombuffer(pickle.dumps(item, protocol=5), np.uint8)


def _from_bytes(data: np.ndarray) -> Any:
    return pickle.loads(data.tobytes())


def in_workers(items: grain.IterDataset, workers: int, buffer: int) -> grain.IterDataset:
    """Items made by so many processes, in the same order; each makes `buffer` of them ahead.

    An item crosses as one array, which grain puts into shared memory. As an object it would fill the pipe that a worker
    has to empty before it ends, and closing would take as long as grain waits before it kills.
    """
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # grain reads its flags, which a program without absl never parses
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=buffer)
    return items.map(_to_bytes).mp_prefetch(options, start_worker).map(_from_bytes)
