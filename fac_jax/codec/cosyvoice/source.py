"""The pitch, and the harmonic source wave that the vocoder shapes (docs/codec_model.md, sections 3.4 and 3.5).

An error of the pitch adds up in the phase of every harmonic: 1e-4 Hz are 1e-1 rad after 15 s. The host therefore
computes pitch and phase in float64, which costs a hundredth of the vocoder. `F0Predictor` computes the pitch in float32
on the device, where a round trip to the host would be slow.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Float64

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.layers.conv import Conv1d, causal_padding
from fac_jax.layers.linear import Linear
from fac_jax.types import Array, Params

F0_LOOKAHEAD: int = 3  # later mel frames that a pitch depends on
F0_WIDTH: int = 3  # kernel positions of the convolutions after the first
F0_DEPTH: int = 5  # number of convolutions
F0_BEFORE: int = (F0_DEPTH - 1) * (F0_WIDTH - 1)  # earlier mel frames that a pitch depends on
UNVOICED: float = 1 / 3  # noise of an unvoiced sample divided by the amplitude of a harmonic

Phase = Literal["exact", "release"]


class F0Predictor(nn.Module):
    """Predicts the pitch of every frame."""

    config: VocoderConfig

    @nn.compact
    def __call__(self, mel: Float[jax.Array, "B M mel_bins"]) -> Float[jax.Array, "B M"]:
        """Returns Hz; frames outside the log-mel count as zero."""
        channels, names = self.config.f0_channels, (axes.CONV, axes.EMBED, axes.MLP)
        ahead = (0, F0_LOOKAHEAD)
        x = Conv1d(channels, F0_LOOKAHEAD + 1, (axes.CONV, axes.MEL, axes.EMBED), padding=ahead, name="conv0")(mel)
        for i in range(1, F0_DEPTH):
            padding = causal_padding(F0_WIDTH)
            x = Conv1d(channels, F0_WIDTH, names, padding=padding, name=f"conv{i}")(jax.nn.elu(x))
        return jnp.abs(Linear(1, (axes.EMBED, None), True, name="classifier")(jax.nn.elu(x))[..., 0])


def host_f0(params: Params, mel: Float[np.ndarray, "M mel_bins"]) -> Float64[np.ndarray, " M"]:
    """Computes `F0Predictor` in numpy and float64; `params` are float64 too. Returns Hz."""
    x = mel.astype(np.float64)
    for i in range(F0_DEPTH):
        kernel, frames = params[f"conv{i}"]["kernel"], len(x)
        edge = (0, F0_LOOKAHEAD) if i == 0 else causal_padding(len(kernel))
        padded = np.pad(x, (edge, (0, 0)))
        x = sum(padded[j : j + frames] @ tap for j, tap in enumerate(kernel)) + params[f"conv{i}"]["bias"]
        x = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    return np.abs(x @ params["classifier"]["kernel"] + params["classifier"]["bias"])[:, 0]


@dataclasses.dataclass(frozen=True)
class Tones:
    """The parts of the source in each frame.

    Attributes:
      sines: value of every harmonic, zero where unvoiced.
      noise: amplitude of the noise.
      turns: phase of every harmonic after the last frame: turns divided by the samples of a frame.
    """

    sines: Float32[np.ndarray, "M harmonics"]
    noise: Float32[np.ndarray, " M"]
    turns: Float64[np.ndarray, " harmonics"]


def tones(
    f0: Float[np.ndarray, " M"], turns: Float64[np.ndarray, " harmonics"], config: VocoderConfig, phase: Phase
) -> Tones:
    """Returns the tones of M frames that follow the frames which left `turns`, zeros at the start; `f0` is in Hz.

    The `phase` "release" rounds the growing phase to float32 as the release does: the error is 0.002 rad after 15 s and
    0.2 rad after 5 minutes.
    """
    pitch = f0.astype(np.float32)
    multiples = np.arange(1, config.harmonics + 1, dtype=np.float32)
    rates = (pitch[:, None] * multiples / np.float32(config.rate)) % np.float32(1)
    sums = turns + np.cumsum(rates, axis=0, dtype=np.float64)
    if phase == "release":
        radians = sums.astype(np.float32) * np.float32(2) * np.float32(np.pi) * np.float32(config.frame_samples)
    else:
        radians = 2 * np.pi * ((sums * config.frame_samples) % 1.0)
    voiced = (pitch > config.voiced_threshold).astype(np.float32)
    sines = config.sine_amplitude * np.sin(radians.astype(np.float64)) * voiced[:, None]
    noise = config.noise * voiced + config.sine_amplitude * UNVOICED * (1 - voiced)
    return Tones(sines.astype(np.float32), noise.astype(np.float32), sums[-1] if len(sums) else turns)


class HarmonicSource(nn.Module):
    """Adds noise to the sines at multiples of the pitch, and mixes them into one wave."""

    config: VocoderConfig

    @nn.compact
    def __call__(
        self, sines: Float[Array, "B M harmonics"], level: Float[Array, "B M"], noise: Float[Array, "B N harmonics"]
    ) -> Float[jax.Array, "B N"]:
        """Returns N = `M * frame_samples` samples in (-1, 1) from `Tones.sines` and `Tones.noise`.

        `noise` is uniform in [0, 1) for every sample and harmonic.
        """
        repeated = [jnp.repeat(jnp.asarray(a), self.config.frame_samples, axis=1) for a in (sines, level[..., None])]
        mixed = Linear(1, (axes.HEADS, None), True, name="linear")(repeated[0] + repeated[1] * noise)
        return jnp.tanh(mixed[..., 0])
