"""What a stage's training step takes on devices that need not be there: memory, collectives, FLOPs, time at best."""

import dataclasses
import math
import re
import time
from collections.abc import Collection
from typing import Any, Final

import jax
import numpy as np

from experiments.planning.hlo import Collective, collectives
from experiments.planning.roofline import capacity_of, held_bytes, least_seconds, local_bytes, weight_traffic
from experiments.planning.topologies import Topology
from fac_jax import axes
from fac_jax.batching.batch_config import check_divides
from fac_jax.batching.batch_stats import causal_stats, dense_stats, full_stats
from fac_jax.batching.packing import Budget
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Part
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.parallel.batches import NAMES, PAIR_NAMES
from fac_jax.parallel.kernels import Attention, attention_choice, kernel_name, training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.parallel.splash import BLOCKS, SplashAttend
from fac_jax.training.flops import ATTENTION_AGAIN, Execution, step_flops, trainable_paths
from fac_jax.training.optimizer import make_optimizer, make_schedule
from fac_jax.training.overview import compiled_memory
from fac_jax.training.sharding import abstract_params, abstract_state, shardings
from fac_jax.training.stage import StageConfig
from fac_jax.training.state import TrainState
from fac_jax.training.step import bind, make_step
from fac_jax.types import Batch, InputError, PreferenceBatch

GIB: Final = 2**30
_NEEDED: Final = re.compile(
    r"(?:Used |required for [\w ]+ \()([\d.]+)([KMGT])\)? (?:of [\d.]+[KMGT] hbm|exceeds available HBM)"
)
_UNITS: Final = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was found; `plan.py` prints it.

    Attributes:
      fits: whether the peak is within the memory of a chip.
      topology: name of the devices.
      mesh: devices along every axis that has more than one.
      remat: of the model.
      rows: of a step, on all chips together.
      per_chip_bytes: "arguments", "temporaries", "peak" of the compiled step; where it was refused for want of memory,
        the arguments by analysis and the peak that the compiler tells. "state" has what a chip holds of parameters, of
        a frozen reference and of the optimizer.
      hbm_bytes: that a program can have of a chip's memory.
      flops: of a step on all chips, by part: "needed" counts full rows of one conversation each, "executed" what the
        program does, with what it computes again.
      bounds: seconds that a step takes at least for its arithmetic, for reading weights and state from memory, and for
        its collectives; empty for a device that the table does not have.
      estimated_step_seconds: the greatest of the bounds, as if everything overlapped.
      estimated_mfu: needed FLOPs in that time, as a share of what the chips can do.
      collectives: of a step, by kind and size of group.
      helps: what would make it fit.
      compile_seconds: tracing and compilation.
    """

    fits: bool
    topology: str
    mesh: dict[str, int]
    remat: str
    rows: int
    per_chip_bytes: dict[str, Any]
    hbm_bytes: float
    flops: dict[str, dict[str, float]]
    bounds: dict[str, float]
    estimated_step_seconds: float | None
    estimated_mfu: float | None
    collectives: list[Collective]
    helps: list[str]
    compile_seconds: float


def abstract_start(config: ModelConfig, stage: StageConfig, layout: Layout) -> TrainState:
    """Shapes and shardings of the state that a stage begins with.

    Raises:
      InputError: the mesh does not divide a parameter.
    """
    optimizer = make_optimizer(stage.optimizer, make_schedule(stage.optimizer, stage.steps))
    return abstract_state(
        abstract_params(config, layout), optimizer, stage.trainable, stage.loss.needs_reference == "frozen"
    )


def budget_of(stage: StageConfig) -> Budget:
    """Returns the shapes of a stage's batches, as its config says them.

    Raises:
      InputError: the windows of a row are left to the data, which a plan does not read.
    """
    data = stage.data
    if data.windows_per_row is None:
        key = f"stages.{stage.name}.data.windows_per_row"
        raise InputError(f"config key {key} is not set: a plan does not read the data; --config.{key}=N")
    return Budget(data.batch_rows, data.seq_len, data.windows_per_row, data.segments)


def abstract_batch(config: ModelConfig, stage: StageConfig, budget: Budget, layout: Layout) -> Batch | PreferenceBatch:
    """Returns shapes and shardings of the batch that a step of a stage takes; nothing of its size is made.

    Raises:
      InputError: see `Layout.sharding`.
    """
    shards, micro = layout.batch_shards, stage.micro_batches
    check_divides(budget.rows, shards * micro, f"stages.{stage.name}.data.batch_rows")
    part = dataclasses.replace(budget, rows=budget.rows // (shards * micro))
    one: Any = stage.loss.collate([], part, config)
    names = PAIR_NAMES if stage.loss.pairs else NAMES
    one, names = (_with_parts(tree, shards) for tree in (one, names))
    lead = (micro,) if micro > 1 else ()

    def placed(leaf: np.ndarray, called: tuple[str | None, ...]) -> jax.ShapeDtypeStruct:
        whole = (*lead, leaf.shape[0] * shards, *leaf.shape[1:])
        sharding = layout.sharding((*[None] * len(lead), *called), whole, "batch")
        return jax.ShapeDtypeStruct(whole, leaf.dtype, sharding=sharding)

    leaves, tree = jax.tree.flatten(one)
    called = jax.tree.leaves(names, is_leaf=lambda leaf: isinstance(leaf, tuple))
    return jax.tree.unflatten(tree, [placed(*pair) for pair in zip(leaves, called, strict=True)])


def _with_parts(batch: Any, parts: int) -> Any:
    if isinstance(batch, PreferenceBatch):
        return dataclasses.replace(batch, batch=dataclasses.replace(batch.batch, parts=parts))
    return dataclasses.replace(batch, parts=parts)


def make_plan(
    config: ModelConfig,
    stage: StageConfig,
    budget: Budget,
    topology: Topology,
    layout: Layout,
    attention: Attention,
    hbm: float | None = None,
) -> Plan:
    """Compiles the step of a stage for devices that need not be there.

    Args:
      config: of the model.
      stage: of the recipe.
      budget: shapes of the batch of one update.
      topology: the devices.
      layout: a mesh of them.
      attention: of the decoders.
      hbm: bytes that a chip has; those of the table, or of this machine, if None.

    Raises:
      InputError: the mesh does not divide a parameter or the batch.
    """
    schedule = make_schedule(stage.optimizer, stage.steps)
    optimizer = make_optimizer(stage.optimizer, schedule)
    state = abstract_start(config, stage, layout)
    batch = abstract_batch(config, stage, budget, layout)
    objective = bind(stage.loss, FunAudioChat(config, training_kernels(layout, attention)), layout)
    step = make_step(objective, optimizer, schedule, stage.trainable, stage.micro_batches, shardings(state))

    held = held_bytes(state)
    arguments = sum(held.values()) + local_bytes(batch)
    memory: dict[str, Any] = {"arguments": arguments, "temporaries": None, "peak": None, "state": held}
    capacity, found = hbm or capacity_of(topology), []
    start = time.perf_counter()
    try:
        program = step.lower(state, batch).compile()
    except jax.errors.JaxRuntimeError as error:
        memory["peak"] = _refused(error)
    else:
        sizes = compiled_memory(program)
        memory |= {"arguments": sizes["arguments"], "temporaries": sizes["temporaries"], "peak": sizes["total"]}
        found = collectives(program.as_text() or "")
    seconds = time.perf_counter() - start

    rows = stage.loss.conversations(batch)
    paths = trainable_paths(state.params, stage.trainable)
    needed = step_flops(config, stage, paths, full_stats(rows))
    flops = {"needed": needed, "executed": executed_flops(config, stage, paths, rows, layout, attention)}
    bounds = least_seconds(topology, sum(flops["executed"].values()), weight_traffic(config, layout, held), found)
    least = max(bounds.values()) if bounds else None
    chip, chips = topology.chip, len(topology.devices)
    return Plan(
        fits=memory["peak"] <= capacity,
        topology=topology.name,
        mesh={axis: size for axis, size in layout.mesh.shape.items() if size > 1},
        remat=config.remat,
        rows=math.prod(rows.kind.shape[:-1]),
        per_chip_bytes=memory,
        hbm_bytes=capacity,
        flops={kind: {str(part): count for part, count in parts.items()} for kind, parts in flops.items()},
        bounds=bounds,
        estimated_step_seconds=least,
        estimated_mfu=sum(needed.values()) / (least * chip.peak_flops * chips) if least and chip else None,
        collectives=found,
        helps=[] if memory["peak"] <= capacity else helps(config, stage, budget, layout, memory, capacity),
        compile_seconds=seconds,
    )


def _refused(error: RuntimeError) -> float:
    """Bytes of a chip that a program would need, told by a compiler that refuses it for want of them."""
    needed = _NEEDED.search(str(error))
    if needed is None:
        raise error
    return float(needed[1]) * _UNITS[needed[2]]


def executed_flops(
    config: ModelConfig, stage: StageConfig, paths: Collection[str], batch: Batch, layout: Layout, attention: Attention
) -> dict[Part, float]:
    """FLOPs of a step by part, as its program goes about it on these devices.

    Args:
      config: of the model.
      stage: of the recipe.
      paths: of the parameters that train.
      batch: abstract.
      layout: the devices.
      attention: of the decoders.
    """
    kernels = training_kernels(layout, attention)
    length, text, audio = batch.kind.shape[-1], config.text, config.audio
    heads = (text.num_heads, text.num_kv_heads, text.head_dim)
    windows = (audio.num_heads, audio.num_heads, audio.width // audio.num_heads)
    attend, _ = attention_choice(kernels.attend, heads, config.dtype, length, layout)
    encoder_attend, _ = attention_choice(kernels.encoder_attend, windows, config.dtype, audio.n_window, layout)
    again, encoder = (ATTENTION_AGAIN[kernel_name(kernel)][config.remat] for kernel in (attend, encoder_attend))
    stats = dense_stats(batch)
    if isinstance(attend, SplashAttend):
        stats = causal_stats(stats, BLOCKS, config.group_size)
    return step_flops(config, stage, paths, stats, Execution(length, again, encoder))


def helps(
    config: ModelConfig, stage: StageConfig, budget: Budget, layout: Layout, memory: dict[str, Any], capacity: float
) -> list[str]:
    """What would make a step that does not fit smaller, the cheapest first."""
    found = []
    if config.remat != "full":
        found.append("--config.model.remat=full: layers keep nothing but their input")
    shards = layout.batch_shards * stage.micro_batches
    if budget.rows >= 2 * shards:
        key = f"--config.stages.{stage.name}.micro_batches={2 * stage.micro_batches}"
        found.append(f"{key}: half the rows at a time, half the activations")
    state = sum(memory["state"].values())
    if state > capacity / 2:
        chips = layout.mesh.size
        if layout.shards(axes.EMBED) < chips:
            found.append(f"--mesh=fsdp={chips}: parameters and moments in {chips} shards")
        least = math.ceil(chips * state / (capacity / 2))
        found.append(f"{least} chips or more: parameters and moments take {state / GIB:.1f} GiB of each of {chips}")
    elif budget.rows == shards:
        found.append("--mesh with tensor=2 or more: activations of a row on several chips")
    return found
