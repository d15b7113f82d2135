"""The vocoder: log-mel at 50 frames a second to a 24 kHz wave (causal HiFT; codec.md section 3).

Everything works on a window of frames, so that long speech and streams cost what their windows cost:
`fac_jax/codec/cosyvoice/vocoder_windows.py` says which samples of a window are those of the whole.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fac_jax import axes
from fac_jax.codec.cosyvoice.config import VocoderConfig
from fac_jax.codec.cosyvoice.source import F0Predictor, HarmonicSource
from fac_jax.codec.cosyvoice.stft import inverse, reflected, spectrum
from fac_jax.layers.conv import Conv1d, causal_padding

FINAL_SLOPE: float = 0.01  # of the leaky ReLU before the last convolution
MOST_MAGNITUDE: float = 100.0  # of a spectrum of the wave
POST_WIDTH: int = 7  # kernel positions of the last convolution

HIDDEN_AXES = (axes.CONV, axes.EMBED, axes.MLP)


class Snake(nn.Module):
    """`x + sin(alpha x)^2 / alpha`, alpha by channel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, T, C] -> [B, T, C]`."""
        ones = nn.with_logical_partitioning(nn.initializers.ones_init(), (axes.EMBED,))
        alpha = self.param("alpha", ones, (x.shape[-1],), "float32")
        return x + jnp.square(jnp.sin(alpha * x)) / (alpha + 1e-9)


class ResidualBlock(nn.Module):
    """Pairs of causal convolutions, the first of each dilated."""

    width: int
    dilations: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[B, T, C] -> [B, T, C]`."""
        channels = x.shape[-1]
        for i, dilation in enumerate(self.dilations):
            y = Snake(name=f"snake1_{i}")(x)
            padding = causal_padding(self.width, dilation)
            y = Conv1d(channels, self.width, HIDDEN_AXES, dilation=dilation, padding=padding, name=f"conv1_{i}")(y)
            y = Snake(name=f"snake2_{i}")(y)
            x = x + Conv1d(channels, self.width, HIDDEN_AXES, padding=causal_padding(self.width), name=f"conv2_{i}")(y)
        return x


class Vocoder(nn.Module):
    """Log-mel to a wave."""

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

    def f0(self, mel: jax.Array) -> jax.Array:
        """Log-mel `[B, F, 80]` -> pitch in Hz `[B, F]`, in float32."""
        return self.f0_predictor(mel)

    def source(self, sines: jax.Array, level: jax.Array, noise: jax.Array) -> jax.Array:
        """Source wave `[B, F * frame_samples]` (`HarmonicSource`)."""
        return self.harmonics(sines, level, noise)

    def decode(self, mel: jax.Array, source: jax.Array, length: jax.Array) -> jax.Array:
        """Wave of a window.

        Args:
          mel: log-mel float32 `[B, F, 80]`, zero from `length` on.
          source: float32 `[B, F * frame_samples]`.
          length: int32, frames that there are; the wave ends with them.

        Returns:
          float32 `[B, F * frame_samples]`; meaningless from `length` frames on.
        """
        c = self.config
        steps = c.frame_steps
        heard = reflected(source, c.fft // 2, length * c.frame_samples)
        s = spectrum(heard, c.fft, c.hop)
        x = self.conv_pre(mel)
        for i, (rate, up) in enumerate(zip(c.upsample_rates, self.ups, strict=True)):
            x = up(jnp.repeat(jax.nn.leaky_relu(x, c.slope), rate, axis=1))
            if i == len(self.ups) - 1:
                x = jnp.concatenate([x[:, 1:2], x], axis=1)
            x = x + self.source_blocks[i](self.source_downs[i](s))
            count = len(c.block_widths)
            x = sum(block(x) for block in self.blocks[i * count : (i + 1) * count]) / count
        x = self.conv_post(jax.nn.leaky_relu(x, FINAL_SLOPE))
        magnitude, phase = jnp.split(x, 2, axis=-1)
        magnitude, phase = jnp.minimum(jnp.exp(magnitude), MOST_MAGNITUDE), jnp.sin(phase)
        spectra = jnp.concatenate([magnitude * jnp.cos(phase), magnitude * jnp.sin(phase)], axis=-1)
        wave = inverse(spectra, c.fft, c.hop, length * steps)
        return jnp.clip(wave, -c.limit, c.limit)

    def __call__(
        self, mel: jax.Array, sines: jax.Array, level: jax.Array, noise: jax.Array, length: jax.Array
    ) -> jax.Array:
        """`decode` of the `source`."""
        return self.decode(mel, self.source(sines, level, noise), length)
