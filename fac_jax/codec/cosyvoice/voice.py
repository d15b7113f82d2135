"""The three models of the released voice: the class of their sizes and their initialisation."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import flax.linen as nn
import jax
import jax.numpy as jnp

from fac_jax.codec.cosyvoice.config import FlowConfig, TokenizerConfig, VocoderConfig
from fac_jax.codec.cosyvoice.flow import BEFORE, Flow
from fac_jax.codec.cosyvoice.s3_tokenizer import S3Tokenizer
from fac_jax.codec.cosyvoice.vocoder import Vocoder
from fac_jax.types import Params


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the models.

    Attributes:
      config: class of its sizes; its defaults are those of the release.
      model: class of the model.
      inputs: small inputs of the model for a configuration.
    """

    config: type
    model: Callable[[Any], nn.Module]
    inputs: Callable[[Any], tuple[jax.Array, ...]]

    def boxed(self, config: Any, rng: jax.Array) -> Params:
        """Initialises the parameters of a configuration; every leaf is boxed with its logical axis names."""
        return cast(Params, self.model(config).init(rng, *self.inputs(config))["params"])

    def init(self, config: Any, rng: jax.Array) -> Params:
        """Initialises parameters as a plain nested dict. `jax.eval_shape` of it gives their shapes."""
        return nn.unbox(self.boxed(config, rng))


def _tokenizer(c: TokenizerConfig) -> tuple[jax.Array, ...]:
    return jnp.zeros((1, 8, c.mel_bins)), jnp.array([8])


def _flow(c: FlowConfig) -> tuple[jax.Array, ...]:
    return jnp.zeros((1, BEFORE + 1 + c.lookahead), jnp.int32), jnp.ones((1, c.speaker_width))


def _vocoder(c: VocoderConfig) -> tuple[jax.Array, ...]:
    frames, noise = 2, jnp.zeros((1, 2 * c.frame_samples, c.harmonics))
    mel, sines = jnp.zeros((1, frames, c.mel_bins)), jnp.zeros((1, frames, c.harmonics))
    return mel, sines, jnp.zeros((1, frames)), noise, jnp.int32(frames)


PARTS: Final[Mapping[str, Part]] = {
    "tokenizer": Part(TokenizerConfig, S3Tokenizer, _tokenizer),
    "flow": Part(FlowConfig, Flow, _flow),
    "vocoder": Part(VocoderConfig, Vocoder, _vocoder),
}
