"""FLOPs of a stage's training step by analysis, and its least time: a roofline (Williams et al. 2009)."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import psutil
from flax import traverse_util

from experiments.planning.gpu_kernels import KernelGroup
from experiments.planning.hlo import Collective
from experiments.planning.shares import SHARES, TF32
from experiments.planning.topologies import Topology
from fac_jax import axes
from fac_jax.batching.batch_stats import BatchStats, causal_stats, dense_stats, full_stats, packed_stats
from fac_jax.layers.attention import CAUSAL
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Part
from fac_jax.parallel.chips import Chip
from fac_jax.parallel.cudnn import TILE, PackedAttend
from fac_jax.parallel.kernels import Attention, attention_choice, kernel_name, training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.splash import BLOCKS, SplashAttend
from fac_jax.training.flops import ATTENTION_AGAIN, Execution, adapter_shares, step_flops, trainable_paths
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import TrainState
from fac_jax.training.trainable import split
from fac_jax.types import Batch, Params


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


def wide_bytes(params: Params | None, dtype: str) -> float:
    """Bytes that one device's share of all parameters takes in a dtype, those that are held in fewer bits too."""
    total, flat = 0.0, cast(dict[str, Any], traverse_util.flatten_dict(params or {}))
    for leaf in flat.values():
        held = jax.tree.leaves(leaf)[0]  # in fewer bits, the codes
        share = math.prod(held.sharding.shard_shape(held.shape)) / held.size
        total += share * math.prod(leaf.shape) * jnp.dtype(dtype).itemsize
    return total


def weight_traffic(config: ModelConfig, stage: StageConfig, layout: Layout, state: TrainState) -> float:
    """Bytes of memory traffic of one chip that come with weights, not with positions.

    Weights are gathered over `fsdp` in the dtype of the products, which writes them, and read: forward, again if layers
    are computed again, and twice backward; a reference's forward alone. The optimizer reads and writes what trains and
    its moments. Activations are left out: they are read by products that do hundreds of operations for each of their
    bytes.
    """
    passes = 2 if config.remat == "full" else 1
    weights, reference = (wide_bytes(tree, config.dtype) for tree in (state.params, state.reference))
    gathered = layout.shards(axes.EMBED) * (weights * (passes + 1) + reference)
    trained, _ = split(state.params, stage.patterns)
    return 2 * (gathered + local_bytes(trained) + local_bytes(state.opt_state))


def least_seconds(topology: Topology, executed: float, traffic: float, found: Sequence[Collective]) -> dict[str, float]:
    """Seconds of a step by what bounds it, FLOPs on all devices, bytes of a chip; none for an unknown chip."""
    chip, chips = topology.chip, len(topology.devices)
    if chip is None:
        return {}
    network = sum(one.sent / sending_rate(topology, chip, one) for one in found)
    return {
        "arithmetic": executed / (chips * chip.peak_flops),
        "memory": traffic / chip.hbm_bandwidth,
        "network": network,
    }


def sending_rate(topology: Topology, chip: Chip, one: Collective) -> float:
    """Returns the bytes per second that a chip can send in a collective.

    A group of GPUs on several hosts is limited by its network adapters. In a ring every byte leaves a host once, by the
    adapters of all members on that host together; in an exchange of all with all, most bytes leave it.
    """
    hosts = math.ceil(one.span / topology.of_host)
    if chip.network_bandwidth is None or hosts == 1:
        return chip.link_bandwidth * links(topology, one.group)
    on_host = max(one.group // hosts, 1)
    if one.kind in ("all-to-all", "ragged-all-to-all", "collective-permute"):
        on_host = 1
    return min(chip.link_bandwidth, on_host * chip.network_bandwidth)


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


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What analysis says of a step; the fields are those of `step.Plan`."""

    needed: dict[Part, float]
    executed: dict[Part, float]
    bounds: dict[str, float]
    expected: dict[str, float]

    @property
    def seconds(self) -> float | None:
        """Returns the greatest of the bounds, as if everything overlapped; None without bounds."""
        return max(self.bounds.values(), default=None)

    def mfu(self, topology: Topology) -> float | None:
        """Returns the needed FLOPs in that time, as a share of what the chips can do; None without bounds."""
        return _mfu(topology, sum(self.needed.values()), self.seconds)

    @property
    def expected_seconds(self) -> float | None:
        """Returns the sum of what is expected of the kernels; None without."""
        return sum(self.expected.values()) or None

    def expected_mfu(self, topology: Topology) -> float | None:
        """Returns the needed FLOPs in that time, as a share of what the chips can do; None without."""
        return _mfu(topology, sum(self.needed.values()), self.expected_seconds)


def _mfu(topology: Topology, needed: float, seconds: float | None) -> float | None:
    if seconds is None or topology.chip is None:
        return None
    return needed / (seconds * topology.chip.peak_flops * len(topology.devices))


def estimate(
    config: ModelConfig,
    stage: StageConfig,
    state: TrainState,
    batch: Any,
    topology: Topology,
    layout: Layout,
    attention: Attention,
    found: Sequence[Collective],
    kernels: Sequence[KernelGroup] = (),
    conversations: int = 1,
) -> Estimate:
    """Estimates the step of a stage from its abstract state and batch.

    `found` are its collectives, read or guessed; `kernels` are those of its compiled program, where it is for GPUs.
    Every row holds so many conversations of equal lengths.
    """
    rows, paths = stage.loss.conversations(batch), trainable_paths(state.params, stage.patterns)
    execution, stats = _execution(config, stage, rows, layout, attention, conversations)
    shares = adapter_shares(state.params)
    none = dataclasses.replace(stats, pairs=0 * stats.pairs, fine_pairs=0 * stats.fine_pairs, frame_pairs=0)
    executed, others = (step_flops(config, stage, paths, counted, execution, shares) for counted in (stats, none))
    attended = (sum(executed.values()) - sum(others.values())) / len(topology.devices)
    experts = 0.0
    if config.text.moe:
        idle = dataclasses.replace(config.text, moe=dataclasses.replace(config.text.moe, expert_width=0))
        rest = step_flops(dataclasses.replace(config, text=idle), stage, paths, stats, execution, shares)
        experts = (sum(executed.values()) - sum(rest.values())) / len(topology.devices)
    traffic = weight_traffic(config, stage, layout, state)
    bounds = least_seconds(topology, sum(executed.values()), traffic, found)
    expected = expected_seconds(topology, kernels, attended, experts, bounds.get("network", 0.0))
    needed = step_flops(config, stage, paths, full_stats(rows, conversations), adapters=shares)
    return Estimate(needed, executed, bounds, expected)


def expected_seconds(
    topology: Topology, kernels: Sequence[KernelGroup], attention: float, experts: float, network: float
) -> dict[str, float]:
    """Seconds of a step by kinds of kernels, one after the other; none for devices of which no shares are known.

    Args:
      kernels: those of the compiled program, which one chip runs.
      attention: FLOPs of cuDNN's attention on one chip, which the program does not tell.
      experts: likewise, of the experts; they count where the program has grouped products.
      network: seconds of the collectives, as if nothing hid them.
    """
    chip, shares = topology.chip, SHARES.get(topology.chip.name) if topology.chip else None
    if chip is None or shares is None or not kernels:
        return {}
    peak, bandwidth = shares.products * chip.peak_flops, shares.bandwidth * chip.hbm_bandwidth
    found = {"products": 0.0, "attention": attention / (shares.attention * chip.peak_flops), "elementwise": 0.0}
    grouped = 0.0
    for one in kernels:
        moved = one.bytes / bandwidth
        if one.kind == "product":
            rate = peak * (TF32 if one.dtype == "f32" else 1.0)
            found["products"] += max(one.flops / rate, moved)
        elif one.kind == "grouped":
            grouped += moved
        elif one.kind == "elementwise":
            found["elementwise"] += moved
    if grouped:
        found["experts"] = max(experts / peak, grouped)
    return found | {"launches": shares.launch * sum(one.count for one in kernels), "network": network}


def _execution(
    config: ModelConfig,
    stage: StageConfig,
    batch: Batch,
    layout: Layout,
    attention: Attention,
    conversations: int,
) -> tuple[Execution, BatchStats]:
    kernels = training_kernels(layout, attention, stage.data.segments)
    length, text, audio = batch.kind.shape[-1], config.text, config.audio
    heads = (text.num_heads, text.num_kv_heads, text.head_dim)
    windows = (audio.num_heads, audio.num_heads, audio.width // audio.num_heads)
    attend, _ = attention_choice(kernels.attend, heads, config.dtype, length, layout, CAUSAL._replace(**config.limits))
    encoder_attend, _ = attention_choice(kernels.encoder_attend, windows, config.dtype, audio.n_window, layout)
    again, encoder = (ATTENTION_AGAIN[kernel_name(kernel)][config.remat] for kernel in (attend, encoder_attend))
    stats = dense_stats(batch)
    if isinstance(attend, SplashAttend):
        stats = causal_stats(stats, BLOCKS, config.group_size)
    if isinstance(attend, PackedAttend):
        stats = packed_stats(stats, TILE, config.group_size, conversations)
    return Execution(length, again, encoder), stats
