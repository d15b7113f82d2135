"""Random parameters, compiled as one program: operation by operation they take hundreds of small ones."""

import jax

from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.types import Params


def initial_params(config: ModelConfig, seed: int = 0) -> Params:
    """Returns the parameters that `init_params` draws."""
    return jax.jit(lambda: init_params(config, jax.random.key(seed)))()
