"""The program of a stage, the same for training and for plans: its jitted step, and the state that the step takes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from fac_jax.layers.kernels import Kernels
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat, boxed_shapes
from fac_jax.models.lora import LoraConfig, attach_boxes
from fac_jax.parallel.compiler import compiler_options
from fac_jax.parallel.kernels import Attention, training_kernels
from fac_jax.parallel.mesh import Layout
from fac_jax.training.base import quantised
from fac_jax.training.optimizer import make_optimizer, make_schedule
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import Objective, Step, TrainState, bind, init_state, make_step
from fac_jax.training.trainable import split
from fac_jax.types import Params


@dataclasses.dataclass(frozen=True)
class StageProgram:
    """What a stage computes.

    Attributes:
      state: shapes and dtypes of the state before the first step, with shardings on a mesh.
      start: makes that state from parameters, which must not be used afterwards.
    """

    kernels: Kernels
    objective: Objective
    step: Step
    state: TrainState
    start: Callable[[Params], TrainState]


def stage_program(
    model: ModelConfig, stage: StageConfig, layout: Layout | None, attention: Attention = "auto"
) -> StageProgram:
    """Makes the program of a stage; nothing is computed or compiled, so that the devices of a mesh need not exist.

    Raises:
      InputError: the mesh does not divide a parameter, a pattern of the stage matches none, or the devices have no
        such attention.
    """
    schedule = make_schedule(stage.optimizer, stage.steps)
    optimizer = make_optimizer(stage.optimizer, schedule)
    kernels = training_kernels(layout, attention, stage.data.segments)
    objective = bind(stage.loss, FunAudioChat(model, kernels), layout, stage.precision)
    frozen = stage.loss.needs_reference == "frozen"
    params = quantised(abstract_params(model, layout, stage.lora), stage.base, stage.patterns)
    state = abstract_state(params, optimizer, stage.patterns, frozen)
    placed = None if layout is None else shardings(state)

    def begin(params: Params, reference: Params | None) -> TrainState:
        return init_state(params, optimizer, stage.patterns, reference)

    def start(params: Params) -> TrainState:
        reference = jax.tree.map(jnp.copy, params) if frozen else None
        if layout is None:
            return begin(params, reference)
        return jax.jit(begin, out_shardings=placed, donate_argnums=(0, 1))(params, reference)

    options = compiler_options(layout)
    step = make_step(objective, optimizer, schedule, stage.patterns, stage.micro_batches, placed, options)
    return StageProgram(kernels, objective, step, state, start)


def abstract_params(config: ModelConfig, layout: Layout | None, lora: LoraConfig | None = None) -> Params:
    """Returns the shapes, dtypes and, on a mesh, shardings of a model's parameters; nothing is computed.

    Args:
      lora: adapter that the model has; None for none.

    Raises:
      InputError: a mesh axis does not divide a dimension of a parameter, or the adapter is none of this model; names
        it.
    """

    def placed(path: Any, box: nn.LogicallyPartitioned) -> jax.ShapeDtypeStruct:
        if layout is None:
            return box.value
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        sharding = layout.sharding(box.names, box.value.shape, f"parameter {name}")
        return jax.ShapeDtypeStruct(box.value.shape, box.value.dtype, sharding=sharding)

    boxed = boxed_shapes(config)
    boxed = boxed if lora is None else attach_boxes(boxed, lora)
    return jax.tree_util.tree_map_with_path(placed, boxed, is_leaf=lambda x: isinstance(x, nn.LogicallyPartitioned))


def abstract_state(
    params: Params, optimizer: optax.GradientTransformation, patterns: Sequence[str], reference: bool = False
) -> TrainState:
    """Returns the shapes, dtypes and, on a mesh, shardings of the state before the first step; nothing is computed.

    Moments have the sharding of their parameters; a factored moment has that of the dimensions which it keeps.

    Args:
      params: result of `abstract_params` on a mesh.
      reference: whether the state has a frozen copy of the parameters.
    """
    state = jax.eval_shape(lambda tree: init_state(tree, optimizer, patterns, tree if reference else None), params)
    sharding = jax.tree.leaves(params)[0].sharding
    if sharding is None:  # one device
        return state
    mesh, whole = sharding.mesh, NamedSharding(sharding.mesh, PartitionSpec())

    def like_parameter(moment: jax.ShapeDtypeStruct, param: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = _left(moment.shape, param.shape, cast(NamedSharding, param.sharding).spec)
        return jax.ShapeDtypeStruct(moment.shape, moment.dtype, sharding=NamedSharding(mesh, spec))

    def replicated(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole)

    trainable, _ = split(params, patterns)
    opt_state = optax.tree.map_params(
        optimizer, like_parameter, state.opt_state, trainable, transform_non_params=replicated
    )
    return TrainState(cast(Any, replicated(cast(Any, state.step))), params, opt_state, params if reference else None)


def _left(shape: tuple[int, ...], param: tuple[int, ...], spec: PartitionSpec) -> PartitionSpec:
    """Returns the mesh axes of an array of `shape`, which has some of the dimensions of a parameter in their order."""
    over = [*spec, *[None] * (len(param) - len(spec))]
    kept, rest = [], list(zip(param, over, strict=True))
    for size in shape:
        found = next((i for i, (other, _) in enumerate(rest) if other == size), None)
        if found is None:  # a place that is filled with nothing, as by Adafactor for what it does not factor
            return PartitionSpec()
        kept.append(rest[found][1])
        rest = rest[found + 1 :]
    return PartitionSpec(*kept)


def shardings(tree: Any) -> Any:
    """Returns the shardings of a tree of abstract or real arrays."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)
