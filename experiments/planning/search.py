"""Meshes, remat policies and batch sizes for a stage, ordered by what a step can reach, the best of them compiled."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Final

from experiments.planning.estimate import capacity_of, estimate, held_bytes
from experiments.planning.hlo import Collective, members
from experiments.planning.step import Plan, make_plan, stage_batch
from experiments.planning.topologies import Topology
from fac_jax import axes
from fac_jax.layers.stack import Remat
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import Layout, make_layout
from fac_jax.progress import bar
from fac_jax.training.program import abstract_params, stage_program
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError

TENSOR: Final = (1, 2, 4, 8)
EXPERT: Final = (1, 4, 8, 16)
ROWS: Final = (1, 2, 4)  # of a shard
REMAT: Final[tuple[Remat, ...]] = ("none", "dots", "save_attention", "full")  # from most memory to least
ROOM: Final = 0.9  # of a chip's memory that parameters and moments may take


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Something to try, and the share of the chips' FLOP/s that it can reach at most."""

    sizes: dict[str, int]
    rows: int
    remat: Remat
    reach: float

    def larger(self, other: "Candidate") -> bool:
        """Whether it needs more memory than the other for sure."""
        return (
            self.sizes == other.sizes
            and self.rows >= other.rows
            and REMAT.index(self.remat) <= REMAT.index(other.remat)
        )


def search(
    config: ModelConfig,
    stage: StageConfig,
    topology: Topology,
    attention: Attention,
    rules: str,
    hbm: float | None,
    tries: int,
) -> list[Plan]:
    """Plans that fit, best first.

    Candidates are compiled in the order of what they can reach by analysis, but for those that need more memory than
    one that did not fit, until `tries` are compiled.

    Raises:
      InputError: no mesh divides the model.
    """
    waiting = sorted(candidates(config, stage, topology, attention, rules, hbm), key=lambda one: -one.reach)
    if not waiting:
        raise InputError(f"no mesh of {topology.name} divides the model and leaves room for its parameters and moments")
    plans: list[Plan] = []
    with bar("compiling", tries) as advance:
        for _ in range(tries):
            if not waiting:
                break
            one = waiting.pop(0)
            made = dataclasses.replace(config, remat=one.remat)
            layout = make_layout(one.sizes, rules, topology.devices)
            plan = make_plan(made, with_rows(stage, one.rows, layout), topology, layout, attention, hbm)
            if plan.fits:
                plans.append(plan)
            else:
                waiting = [other for other in waiting if not other.larger(one)]
            advance(1)
    return sorted(plans, key=lambda plan: -(plan.estimated_mfu or 0.0))


def candidates(
    config: ModelConfig, stage: StageConfig, topology: Topology, attention: Attention, rules: str, hbm: float | None
) -> Iterator[Candidate]:
    """What divides the model and leaves room for its state, with what it can reach by analysis."""
    chips, capacity = len(topology.devices), hbm or capacity_of(topology)
    moe = config.text.moe
    for tensor, expert in itertools.product(TENSOR, EXPERT if moe else (1,)):
        if chips % (tensor * expert):
            continue
        sizes = {"fsdp": chips // (tensor * expert), "tensor": tensor, "expert": expert}
        try:
            layout = make_layout(sizes, rules, topology.devices)
            abstract_params(config, layout)
        except InputError:
            continue
        state = stage_program(config, stage, layout, attention).state
        held = held_bytes(state)
        if sum(held.values()) > ROOM * capacity:
            continue
        for rows, remat in itertools.product(ROWS, REMAT):
            model, many = dataclasses.replace(config, remat=remat), with_rows(stage, rows, layout)
            batch = stage_batch(model, many, layout)
            found = guessed_collectives(model, many, layout, held)
            guess = estimate(model, many, state, batch, topology, layout, attention, found)
            of_executed = sum(guess.needed.values()) / sum(guess.executed.values())
            yield Candidate(sizes, rows, remat, guess.mfu(topology) or of_executed)


def with_rows(stage: StageConfig, rows: int, layout: Layout) -> StageConfig:
    """The stage with that many rows on every shard, in every micro-batch."""
    many = rows * layout.batch_shards * stage.micro_batches
    return dataclasses.replace(stage, data=dataclasses.replace(stage.data, batch_rows=many))


def guessed_collectives(
    config: ModelConfig, stage: StageConfig, layout: Layout, held: dict[str, int]
) -> list[Collective]:
    """What a mesh makes a step send at least, in bfloat16: weights, gradients, activations."""
    mesh, passes = layout.mesh.shape, 3 if config.remat == "full" else 2
    gathered, read = (held[name] * layout.shards(axes.EMBED) // 2 for name in ("parameters", "reference"))
    tokens = stage.data.batch_rows // layout.batch_shards * stage.data.seq_len
    summed = 2 * 2 * config.text.depth * tokens * config.text.width * 2
    sent = (
        3 * 2 * config.text.depth * tokens * config.text.width * 2 * (config.text.moe.top_k if config.text.moe else 0)
    )
    found = [
        ("all-gather", layout.axes(axes.EMBED), passes, passes * gathered + read),
        ("reduce-scatter", layout.axes(axes.EMBED), 1, 2 * gathered),
        ("all-reduce", ("tensor",), 1, summed),
        ("all-to-all", ("expert",), 1, sent),
    ]
    made = []
    for kind, over, count, size in found:
        group = members(mesh, [(axis, 1, mesh[axis]) for axis in over])
        made.append(Collective(kind, len(group), count, size, max(group) + 1))
    return [one for one in made if one.group > 1]
