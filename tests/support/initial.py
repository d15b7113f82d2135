"""Random parameters of a seed."""

import jax

from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.types import Params


def initial_params(config: ModelConfig, seed: int = 0) -> Params:
    """Returns the parameters that `init_params` draws."""
    return init_params(config, jax.random.key(seed))
