"""The vocoder, a causal HiFT: log-mel at 50 frames a second becomes a 24 kHz wave (docs/codec_model.md, section 3).

All modules work on one window of frames, so that the cost of long speech and of streams grows with the number of
windows. `vocoder_windows.py` computes which samples of a window equal those of the whole speech. The short-time Fourier
transform is a matrix product; a spectrum is stored as its real parts followed by its imaginary parts: `fft + 2` values.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.codec.cosyvoice.source import F0Predictor, HarmonicSource
from fac_jax.layers.conv import Conv1d, causal_padding
from fac_jax.types import Array

FINAL_SLOPE: float = 0.01  # negative slope of the leaky ReLU before the last convolution
MAX_MAGNITUDE: float = 100.0  # upper bound of a spectral magnitude
POST_WIDTH: int = 7  # kernel positions of the last convolution

HIDDEN_AXES = (axes.CONV, axes.EMBED, axes.MLP)


class Snake(nn.Module):
    """The activation `x + sin(alpha x)^2 / alpha` with one learnt alpha for each channel."""

    @nn.compact
    def __call__(self, x: Float[jax.Array, "B T C"]) -> Float[jax.Array, "B T C"]:
        """Applies the activation."""
        ones = nn.with_logical_partitioning(nn.initializers.ones_init(), (axes.EMBED,))
        alpha: Any = self.param("alpha", ones, (x.shape[-1],), "float32")
        return x + jnp.square(jnp.sin(alpha * x)) / (alpha + 1e-9)


class ResidualBlock(nn.Module):
    """Pairs of causal convolutions with residual connections; the first of each pair is dilated."""

    width: int
    dilations: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[jax.Array, "B T C"]) -> Float[jax.Array, "B T C"]:
        """Applies all pairs."""
        channels = x.shape[-1]
        for i, dilation in enumerate(self.dilations):
            y = Snake(name=f"snake1_{i}")(x)
            padding = causal_padding(self.width, dilation)
            y = Conv1d(channels, self.width, HIDDEN_AXES, dilation=dilation, padding=padding, name=f"conv1_{i}")(y)
            y = Snake(name=f"snake2_{i}")(y)
            x = x + Conv1d(channels, self.width, HIDDEN_AXES, padding=causal_padding(self.width), name=f"conv2_{i}")(y)
        return x


class Vocoder(nn.Module):
    """Turns a log-mel into a wave."""

    config: VocoderConfig

    def setup(self) -> None:
        c = self.config
        self.f0_predictor = F0Predictor(c)
        self.harmonics = HarmonicSource(c)
        mel_names = (axes.CONV, axes.MEL, axes.EMBED)
        self.conv_pre = Conv1d(c.channels, c.lookahead + 1, mel_names, padding=(0, c.lookahead))
        channels = [c.channels >> (i + 1) for i in range(len(c.upsample_rates))]
        self.ups = [
            Conv1d(n, width, HIDDEN_AXES, padding=causal_padding(width))
            for n, width in zip(channels, c.upsample_widths, strict=True)
        ]
        strides = [c.frame_steps]
        for rate in c.upsample_rates:
            strides.append(strides[-1] // rate)
        self.source_downs = [
            Conv1d(n, 1 if s == 1 else 2 * s, (axes.CONV, None, axes.EMBED), stride=s, padding=(s - 1, 0))
            for n, s in zip(channels, strides[1:], strict=True)
        ]
        self.source_blocks = [ResidualBlock(*sizes) for sizes in zip(c.source_widths, c.source_dilations, strict=True)]
        self.blocks = [
            ResidualBlock(*sizes) for _ in channels for sizes in zip(c.block_widths, c.block_dilations, strict=True)
        ]
        self.conv_post = Conv1d(c.fft + 2, POST_WIDTH, HIDDEN_AXES, padding=causal_padding(POST_WIDTH))

    def f0(self, mel: Float[Array, "B M mel_bins"]) -> Float[jax.Array, "B M"]:
        """Predicts the pitch of every frame in Hz, in float32."""
        return self.f0_predictor(jnp.asarray(mel))

    def decode(
        self, mel: Float[Array, "B M mel_bins"], source: Float[Array, "B N"], length: Int[Array, ""]
    ) -> Float[jax.Array, "B N"]:
        """Makes the wave of a window of M frames, float32, N = `M * frame_samples` samples.

        Args:
          mel: log-mel float32, zero from frame `length` on.
          length: number of valid frames; the speech ends with them, and later samples are meaningless.
        """
        c = self.config
        steps = c.frame_steps
        padded = reflected(source, c.fft // 2, length * c.frame_samples)
        s = spectrum(padded, c.fft, c.hop)
        x = self.conv_pre(jnp.asarray(mel))
        for i, (rate, up) in enumerate(zip(c.upsample_rates, self.ups, strict=True)):
            x = up(jnp.repeat(jax.nn.leaky_relu(x, c.slope), rate, axis=1))
            if i == len(self.ups) - 1:
                x = jnp.concatenate([x[:, 1:2], x], axis=1)
            x = x + self.source_blocks[i](self.source_downs[i](s))
            count = len(c.block_widths)
            x = sum(block(x) for block in self.blocks[i * count : (i + 1) * count]) / count
        x = self.conv_post(jax.nn.leaky_relu(x, FINAL_SLOPE))
        magnitude, phase = jnp.split(x, 2, axis=-1)
        magnitude, phase = jnp.minimum(jnp.exp(magnitude), MAX_MAGNITUDE), jnp.sin(phase)
        spectra = jnp.concatenate([magnitude * jnp.cos(phase), magnitude * jnp.sin(phase)], axis=-1)
        wave = inverse(spectra, c.fft, c.hop, jnp.asarray(length * steps))
        return jnp.clip(wave, -c.limit, c.limit)

    def __call__(
        self,
        mel: Float[Array, "B M mel_bins"],
        sines: Float[Array, "B M harmonics"],
        level: Float[Array, "B M"],
        noise: Float[Array, "B N harmonics"],
        length: Int[Array, ""],
    ) -> Float[jax.Array, "B N"]:
        """Makes the source wave (`HarmonicSource`), then decodes."""
        if self.is_initializing():
            self.f0(mel)
        return self.decode(mel, self.harmonics(sines, level, noise), length)


@functools.cache
def _analysis(fft: int) -> np.ndarray:
    """Returns the matrix from samples to the spectrum of their window, float32 `[fft, fft + 2]`."""
    bins = np.fft.rfft(np.eye(fft) * _hann(fft)[:, None])
    return np.concatenate([bins.real, bins.imag], axis=1).astype(np.float32)


@functools.cache
def _synthesis(fft: int) -> np.ndarray:
    """Returns the matrix from a spectrum to windowed samples, float32 `[fft + 2, fft]`.

    It ignores the imaginary parts of the first and the last bin.
    """
    half = np.eye(fft // 2 + 1)
    return (np.fft.irfft(np.concatenate([half, 1j * half]), fft) * _hann(fft)).astype(np.float32)


def _hann(fft: int) -> np.ndarray:
    """Returns the periodic Hann window `[fft]`."""
    return np.hanning(fft + 1)[:-1]


def reflected(wave: Float[Array, "B N"], margin: int, length: Int[Array, ""] | int) -> Float[jax.Array, "B padded"]:
    """Adds `margin` mirrored samples before and after the first `length` samples: `padded = N + 2 * margin`.

    The samples after the second margin are meaningless.
    """
    index = jnp.abs(jnp.arange(-margin, wave.shape[1] + margin))
    index = jnp.where(index < length, index, 2 * (length - 1) - index)
    return jnp.take(jnp.asarray(wave), jnp.clip(index, 0, wave.shape[1] - 1), axis=1)


def spectrum(wave: Float[Array, "B N"], fft: int, hop: int) -> Float[jax.Array, "B T values"]:
    """Transforms the windows that start at every hop: T = `(N - fft) // hop + 1` spectra of `fft + 2` values."""
    hops = jnp.reshape(wave, (len(wave), -1, hop))
    frames = hops.shape[1] - fft // hop + 1
    windows = jnp.concatenate([hops[:, i : i + frames] for i in range(fft // hop)], axis=-1)
    return windows @ _analysis(fft)


def inverse(
    spectra: Float[jax.Array, "B T values"], fft: int, hop: int, last: Int[jax.Array, ""]
) -> Float[jax.Array, "B N"]:
    """Adds the overlapping windows and divides by the sum of their squared Hann windows.

    Returns N = `(T - 1) * hop` samples, from the middle of the first window to the middle of the last. Spectra after
    the index `last` are not valid and do not count.
    """
    valid = jnp.arange(spectra.shape[1]) <= last
    windows = jnp.where(valid[:, None], spectra @ _synthesis(fft), 0)
    squares = valid[:, None] * np.square(_hann(fft)).astype(np.float32)
    overlap = fft // hop

    def added(windows: jax.Array) -> jax.Array:
        """Adds windows `[.., T, fft]` into hops `[.., T - 1 + overlap, hop]`."""
        parts = windows.reshape(*windows.shape[:-1], overlap, hop)
        edge = [(0, 0)] * (windows.ndim - 2)
        shifted = [jnp.pad(parts[..., i, :], (*edge, (i, overlap - 1 - i), (0, 0))) for i in range(overlap)]
        return functools.reduce(jnp.add, shifted)

    skipped = overlap // 2
    wave = added(windows)[:, skipped:-skipped] / jnp.maximum(added(squares[None])[:, skipped:-skipped], 1e-11)
    return wave.reshape(len(spectra), -1)
