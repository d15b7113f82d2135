"""Adapters that change results: their B, which begins as zero, is random."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from fac_jax.models.lora import LoraConfig, adapter_of, attach, with_adapter
from fac_jax.types import Params

EVERYTHING = ("llm", "head", "bridge", "encoder")


def adapted_params(params: Params, config: LoraConfig, seed: int = 0) -> Params:
    """Returns parameters with a random adapter; nothing is compiled."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: adapter_of(attach(params, config, jax.random.key(0))))
    leaves = traverse_util.flatten_dict(shapes, sep="/")
    for path, leaf in sorted(leaves.items()):
        reach = 0.1 if path.endswith("lora_b") else 1.0
        random = reach * rng.standard_normal(leaf.shape) * leaf.shape[-2] ** -0.5 if len(leaf.shape) > 1 else None
        leaves[path] = (
            jnp.full(leaf.shape, config.scale) if path.endswith("scale") else jnp.asarray(random, jnp.float32)
        )
    return with_adapter(params, traverse_util.unflatten_dict(leaves, sep="/"))
