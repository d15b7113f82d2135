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
      boxed: initialises the parameters of a configuration; every leaf is boxed with its logical axis names.
    """

    config: type
    boxed: Callable[[Any, jax.Array], Params]

    def init(self, config: Any, rng: jax.Array) -> Params:
        """Initialises parameters as a plain nested dict. `jax.eval_shape` of it gives their shapes."""
        return nn.unbox(self.boxed(config, rng))


def _params(variables: Any) -> Params:
    """Returns the parameters of initialised variables, which Linen annotates as one of two mappings."""
    return cast(Params, variables["params"])


def _tokenizer(config: TokenizerConfig, rng: jax.Array) -> Params:
    mel = jnp.zeros((1, 8, config.mel_bins))
    return _params(S3Tokenizer(config).init(rng, mel, jnp.array([8])))


def _flow(config: FlowConfig, rng: jax.Array) -> Params:
    ids = jnp.zeros((1, BEFORE + 1 + config.lookahead), jnp.int32)
    return _params(Flow(config).init(rng, ids, jnp.ones((1, config.speaker_width)), config.token_frames))


def _vocoder(config: VocoderConfig, rng: jax.Array) -> Params:
    frames, model = 2, Vocoder(config)
    mel, noise = (
        jnp.zeros((1, frames, config.mel_bins)),
        jnp.zeros((1, frames * config.frame_samples, config.harmonics)),
    )

    def touch_all(model: Vocoder) -> None:
        model.f0(mel)
        model(mel, jnp.zeros((1, frames, config.harmonics)), jnp.zeros((1, frames)), noise, jnp.int32(frames))

    return _params(model.init(rng, method=touch_all))


PARTS: Final[Mapping[str, Part]] = {
    "tokenizer": Part(TokenizerConfig, _tokenizer),
    "flow": Part(FlowConfig, _flow),
    "vocoder": Part(VocoderConfig, _vocoder),
}
