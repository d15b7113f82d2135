"""What a stage's training step takes on devices that need not be there: memory, collectives, FLOPs, time at best."""

import dataclasses
import math
import re
import time
from typing import Any, Final

import jax

from experiments.planning.estimate import capacity_of, estimate, held_bytes, local_bytes
from experiments.planning.gpu_kernels import KernelGroup, gpu_kernels
from experiments.planning.hlo import Collective, collectives, cudnn_workspace
from experiments.planning.topologies import Topology
from fac_jax import axes
from fac_jax.batching.batch_config import check_divides
from fac_jax.batching.loaded import stacked
from fac_jax.batching.packing import Budget
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.batches import abstract_batch
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import Layout
from fac_jax.training.overview import compiled_memory
from fac_jax.training.program import stage_program
from fac_jax.training.stage import StageConfig
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
      flops: of a step on all chips, by part: "needed" counts full rows, "executed" what the program does, with what it
        computes again.
      bounds: seconds that a step takes at least for its arithmetic, for reading weights and state from memory, and for
        its collectives; empty for a device that the table does not have.
      estimated_step_seconds: the greatest of the bounds, as if everything overlapped.
      estimated_mfu: needed FLOPs in that time, as a share of what the chips can do.
      kernels: of a chip, by kind, where the program is for GPUs.
      expected: seconds that these are expected to take, by kind (`shares.py`); empty for other devices.
      expected_step_seconds: their sum, as if nothing overlapped.
      expected_mfu: needed FLOPs in that time.
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
    kernels: list[KernelGroup]
    expected: dict[str, float]
    expected_step_seconds: float | None
    expected_mfu: float | None
    collectives: list[Collective]
    helps: list[str]
    compile_seconds: float


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


def stage_batch(config: ModelConfig, stage: StageConfig, layout: Layout) -> Batch | PreferenceBatch:
    """Returns shapes and shardings of the batch that a step of a stage takes; one part of it is made, of padding.

    Raises as `budget_of` and `abstract_batch`.
    """
    budget, shards, micro = budget_of(stage), layout.batch_shards, stage.micro_batches
    budget = dataclasses.replace(budget, features=config.audio.width if stage.data.feature_copies else None)
    check_divides(budget.rows, shards * micro, f"stages.{stage.name}.data.batch_rows")
    part = stage.loss.collate([], dataclasses.replace(budget, rows=budget.rows // (shards * micro)), config)
    return abstract_batch(stacked([part] * micro), layout, shards)


def make_plan(
    config: ModelConfig,
    stage: StageConfig,
    topology: Topology,
    layout: Layout,
    attention: Attention,
    hbm: float | None = None,
    conversations: int = 1,
) -> Plan:
    """Compiles the step of a stage for devices that need not be there.

    Args:
      hbm: bytes of a chip, if not the table's.
      conversations: those of a row, of equal lengths, for the FLOPs of attention.

    Raises:
      InputError: the mesh does not divide a parameter or the batch.
    """
    program = stage_program(config, stage, layout, attention)
    state, batch = program.state, stage_batch(config, stage, layout)
    held = held_bytes(state)
    arguments = sum(held.values()) + local_bytes(batch)
    memory: dict[str, Any] = {"arguments": arguments, "temporaries": None, "peak": None, "state": held}
    capacity, found, kernels = hbm or capacity_of(topology), [], []
    start = time.perf_counter()
    try:
        compiled = program.step.lower(state, batch).compile()
    except jax.errors.JaxRuntimeError as error:
        memory["peak"] = refused_bytes(error)
    else:
        sizes = compiled_memory(compiled)
        text = compiled.as_text() or ""
        workspace = cudnn_workspace(text)
        memory |= {"arguments": sizes["arguments"], "temporaries": sizes["temporaries"] + workspace}
        memory["peak"] = topology.spare * (sizes["total"] + workspace)
        found = collectives(text)
        kernels = gpu_kernels(text) if layout.platform == "gpu" else []
    seconds = time.perf_counter() - start

    analysis = estimate(config, stage, state, batch, topology, layout, attention, found, kernels, conversations)
    flops = {"needed": analysis.needed, "executed": analysis.executed}
    return Plan(
        fits=memory["peak"] <= capacity,
        topology=topology.name,
        mesh={axis: size for axis, size in layout.mesh.shape.items() if size > 1},
        remat=config.remat,
        rows=math.prod(stage.loss.conversations(batch).kind.shape[:-1]),
        per_chip_bytes=memory,
        hbm_bytes=capacity,
        flops={kind: {str(part): count for part, count in parts.items()} for kind, parts in flops.items()},
        bounds=analysis.bounds,
        estimated_step_seconds=analysis.seconds,
        estimated_mfu=analysis.mfu(topology),
        kernels=kernels,
        expected=analysis.expected,
        expected_step_seconds=analysis.expected_seconds,
        expected_mfu=analysis.expected_mfu(topology),
        collectives=found,
        helps=[] if memory["peak"] <= capacity else helps(config, stage, layout, memory, capacity),
        compile_seconds=seconds,
    )


def refused_bytes(error: RuntimeError) -> float:
    """Bytes of a chip that a program would need, told by a compiler that refuses it for want of them."""
    needed = _NEEDED.search(str(error))
    if needed is None:
        raise error
    return float(needed[1]) * _UNITS[needed[2]]


def helps(
    config: ModelConfig, stage: StageConfig, layout: Layout, memory: dict[str, Any], capacity: float
) -> list[str]:
    """What would make a step that does not fit smaller, the cheapest first."""
    found = []
    if config.remat != "full":
        found.append("--config.model.remat=full: layers keep nothing but their input")
    if stage.lora is not None and stage.base.quantise != "nf4":
        key = f"--config.stages.{stage.name}.base.quantise=nf4"
        found.append(f"{key}: 4.1 bits for a weight that is frozen")
    shards = layout.batch_shards * stage.micro_batches
    if stage.data.batch_rows >= 2 * shards:
        key = f"--config.stages.{stage.name}.micro_batches={2 * stage.micro_batches}"
        found.append(f"{key}: half the rows at a time, half the activations")
    state = sum(memory["state"].values())
    if state > capacity / 2:
        chips = layout.mesh.size
        if layout.shards(axes.EMBED) < chips:
            found.append(f"--mesh=fsdp={chips}: parameters and moments in {chips} shards")
        least = math.ceil(chips * state / (capacity / 2))
        found.append(f"{least} chips or more: parameters and moments take {state / GIB:.1f} GiB of each of {chips}")
    elif stage.data.batch_rows == shards:
        found.append("--mesh with tensor=2 or more: activations of a row on several chips")
    return found
