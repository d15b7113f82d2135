"""Pitch, and the harmonic source that the vocoder shapes (codec.md sections 3.4 and 3.5).

An error of the pitch adds up in the phase of every harmonic: 1e-4 Hz are 1e-1 rad after 15 s. Pitch and phase are thus
computed on the host, in float64, which costs a hundredth of the vocoder; `F0Predictor` in float32 is there for devices
that are far from their host.
"""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.layers.conv import Conv1d, causal_padding
from fac_jax.layers.linear import Linear
from fac_jax.types import Array, Params

F0_LOOKAHEAD: int = 3  # mel frames that a pitch hears ahead
F0_WIDTH: int = 3  # kernel positions of the convolutions behind the first
F0_DEPTH: int = 5
F0_BEHIND: int = (F0_DEPTH - 1) * (F0_WIDTH - 1)  # mel frames that a pitch hears behind
UNVOICED: float = 1 / 3  # noise of an unvoiced sample over the amplitude of a harmonic

Phase = Literal["exact", "release"]


class F0Predictor(nn.Module):
    """Pitch of every frame."""

    config: VocoderConfig

    @nn.compact
    def __call__(self, mel: jax.Array) -> jax.Array:
        """Log-mel `[B, F, 80]` -> Hz `[B, F]`; zeros lie around the frames."""
        channels, names = self.config.f0_channels, (axes.CONV, axes.EMBED, axes.MLP)
        ahead = (0, F0_LOOKAHEAD)
        x = Conv1d(channels, F0_LOOKAHEAD + 1, (axes.CONV, axes.MEL, axes.EMBED), padding=ahead, name="conv0")(mel)
        for i in range(1, F0_DEPTH):
            padding = causal_padding(F0_WIDTH)
            x = Conv1d(channels, F0_WIDTH, names, padding=padding, name=f"conv{i}")(jax.nn.elu(x))
        return jnp.abs(Linear(1, (axes.EMBED, None), True, name="classifier")(jax.nn.elu(x))[..., 0])


def host_f0(params: Params, mel: np.ndarray) -> np.ndarray:
    """`F0Predictor` in float64: float64 parameters, log-mel `[F, 80]` -> Hz `[F]`."""
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
    """What the source plays in each frame.

    Attributes:
      sines: of every harmonic, zero where unvoiced, float32 `[F, harmonics]`.
      noise: amplitude of the noise, float32 `[F]`.
      turns: of every harmonic so far, float64 `[harmonics]`, in units of a frame's samples.
    """

    sines: np.ndarray
    noise: np.ndarray
    turns: np.ndarray


def tones(f0: np.ndarray, turns: np.ndarray, config: VocoderConfig, phase: Phase) -> Tones:
    """Tones of frames that follow `turns`.

    Args:
      f0: Hz `[F]`.
      turns: float64 `[harmonics]` of `Tones` before; zeros at the start.
      config: sizes.
      phase: "exact", or "release", which rounds the growing phase to float32 as the release does: 0.002 rad after 15 s,
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
    """Sines at multiples of the pitch with noise, joined to one wave."""

    config: VocoderConfig

    @nn.compact
    def __call__(self, sines: Array, level: Array, noise: Array) -> jax.Array:
        """`Tones.sines` `[B, F, harmonics]`, `Tones.noise` `[B, F]`, noise in [0, 1) -> `[B, F * frame_samples]`."""
        held = [jnp.repeat(jnp.asarray(a), self.config.frame_samples, axis=1) for a in (sines, level[..., None])]
        joined = Linear(1, (axes.HEADS, None), True, name="linear")(held[0] + held[1] * noise)
        return jnp.tanh(joined[..., 0])
