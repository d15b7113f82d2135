"""The least time that a step can take on a chip, from its makers' figures: a roofline (Williams et al. 2009)."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import psutil

from experiments.planning.hlo import Collective
from experiments.planning.topologies import Topology
from fac_jax import axes
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.mesh import Layout
from fac_jax.training.step import TrainState


def local_bytes(tree: Any) -> int:
    """Bytes that one device holds of abstract arrays with shardings."""
    leaves = jax.tree.leaves(tree)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)


def held_bytes(state: TrainState) -> dict[str, int]:
    """Bytes that one device holds of a state, by what they are for."""
    parts = {"parameters": state.params, "reference": state.reference, "optimizer": state.opt_state}
    return {name: local_bytes(tree) for name, tree in parts.items()}


def capacity_of(topology: Topology) -> float:
    """Bytes that a program can have of a device's memory; of a CPU's, its share."""
    if topology.chip is not None:
        return topology.chip.hbm_bytes
    return psutil.virtual_memory().total / len(topology.devices)


def weight_traffic(config: ModelConfig, layout: Layout, held: dict[str, int]) -> float:
    """Bytes of memory traffic of one chip that come with weights, not with positions.

    Weights are gathered over `fsdp` in the dtype of the products, which writes them, and read: forward, again if layers
    are computed again, and twice backward; a reference's forward alone. The optimizer reads and writes parameters and
    moments. Activations are left out: they are read by products that do hundreds of operations for each of their bytes.
    """
    passes = 2 if config.remat == "full" else 1
    whole = layout.shards(axes.EMBED) * jnp.dtype(config.dtype).itemsize / jnp.dtype(config.param_dtype).itemsize
    gathered = whole * (held["parameters"] * (passes + 1) + held["reference"])
    return 2 * (gathered + held["parameters"] + held["optimizer"])


def least_seconds(topology: Topology, executed: float, traffic: float, found: Sequence[Collective]) -> dict[str, float]:
    """Seconds of a step by what bounds it; empty for devices that the table does not have.

    Args:
      topology: the devices.
      executed: FLOPs on all of them.
      traffic: bytes of one chip's memory.
      found: collectives of the step.
    """
    chip, chips = topology.chip, len(topology.devices)
    if chip is None:
        return {}
    network = sum(one.sent / (chip.link_bandwidth * links(topology, one.group)) for one in found)
    return {
        "arithmetic": executed / (chips * chip.peak_flops),
        "memory": traffic / chip.hbm_bandwidth,
        "network": network,
    }


def links(topology: Topology, group: int) -> float:
    """Share of a chip's links that a collective among `group` of them can use.

    A TPU's links go along the sides of a torus: a group takes as many sides as it needs, and both directions of each
    only where a side closes to a ring (16 chips of v5e and v6e, multiples of 4 of v4 and v5p).
    """
    sides = sorted(topology.sides)
    if len(sides) == 1:
        return 1.0
    needed, size = 0, 1
    while size < group and needed < len(sides):
        size *= sides[-1 - needed]
        needed += 1
    rings = all(side % 4 == 0 for side in sides) if len(sides) == 3 else all(side == 16 for side in sides)
    return max(needed, 1) / len(sides) * (1.0 if rings else 0.5)
