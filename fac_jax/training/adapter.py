"""The adapter of a stage: attached to the parameters that the stage starts from, written in PEFT's format, merged."""

import functools
from typing import Any

import jax
from etils import epath

from fac_jax.checkpoint.adapters.adapter import put_adapter, trained_adapter
from fac_jax.checkpoint.adapters.load import ADAPTER, read_adapter
from fac_jax.checkpoint.adapters.save import save_adapter
from fac_jax.checkpoint.store import check_shapes
from fac_jax.models import lora
from fac_jax.models.config import ModelConfig
from fac_jax.parallel import hosts
from fac_jax.parallel.mesh import Layout
from fac_jax.training.program import abstract_params, shardings
from fac_jax.training.stage import StageConfig
from fac_jax.training.trainable import split
from fac_jax.types import InputError, Params


def attached(params: Params, shapes: Params, model: ModelConfig, stage: StageConfig, base: str) -> Params:
    """Returns parameters with a fresh adapter, or with the one that the stage names.

    Args:
      params: parameters without an adapter.
      shapes: abstract parameters with the adapter of the stage (`StageProgram.state`).
      base: digest of the parameters (`checkpoint.adapters.base.base_digest`).

    Raises:
      InputError: the named adapter is not of this model, has other modules or ranks than the stage says, or was trained
        on another base.
    """
    config, wanted = stage.lora, lora.adapter_of(shapes)
    assert config is not None
    if config.init_from is None:
        placed = None if jax.tree.leaves(wanted)[0].sharding is None else shardings(wanted)
        make = functools.partial(lora.fresh, lora.detach(shapes), config)
        return lora.with_adapter(params, jax.jit(make, out_shardings=placed)(jax.random.key(stage.seed)))
    adapter = read_adapter(config.init_from, model)
    check_shapes(adapter.leaves, wanted, config.init_from)
    if adapter.base not in (None, base):
        raise InputError(
            f"{config.init_from}: an adapter of a base with the digest {adapter.base}, but stage {stage.name} starts "
            f"from one with {base}: set its start_from"
        )

    def placed_as(leaf: Any, shape: jax.ShapeDtypeStruct) -> jax.Array:
        return jax.device_put(leaf.astype(shape.dtype), shape.sharding)

    return jax.tree.map(placed_as, put_adapter(params, adapter), shapes)


def merged(params: Params, model: ModelConfig, layout: Layout | None) -> Params:
    """Returns the model that an adapter makes of its base, sharded as a model without an adapter is."""
    found = lora.merge(params)
    return found if layout is None else jax.device_put(found, shardings(abstract_params(model, layout)))


def write_adapter(directory: epath.Path, params: Params, model: ModelConfig, stage: StageConfig, base: str) -> None:
    """Writes the adapter of a finished stage to `directory/adapter`, with the parameters that were trained in full.

    Args:
      base: digest of the base (`checkpoint.adapters.base.base_digest`).
    """
    assert stage.lora is not None
    leaves, saved = (hosts.everywhere(part) for part in (lora.adapter_of(params), _in_full(params, stage)))
    folder = directory / ADAPTER
    if hosts.is_first() and folder.exists():  # of a run that was stopped before it wrote its model
        folder.rmtree()
    without = save_adapter(folder, trained_adapter(leaves, stage.lora.rslora, saved, base), model)
    if without:
        hosts.log(f"stage {stage.name}: PEFT has no place for {', '.join(without)}; the merged model has them")


def _in_full(params: Params, stage: StageConfig) -> dict[str, Any]:
    return lora.detach(split(params, stage.patterns)[0])
