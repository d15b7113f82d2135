"""The S3 tokenizer, third version: it turns a 128-bin log-mel into 25 Hz speech ids (docs/codec_model.md, section 1).

The codebook is a finite scalar quantiser with 3^8 entries. Waves are cut into pieces of 30 s, batched by length and
spread over the devices of the host.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, Final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float, Int, Int32

from fac_jax import axes
from fac_jax.audio.mel import HOP, RATE, log_mel
from fac_jax.codec.cosyvoice.config import DIGITS, TokenizerConfig, pieces
from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.layers.conv import Conv1d, DepthwiseConv1d
from fac_jax.layers.linear import Linear
from fac_jax.layers.mlp import GeluMLP
from fac_jax.layers.norm import LayerNorm
from fac_jax.layers.rope import Rope, rope, rotate
from fac_jax.layers.stack import stacked
from fac_jax.precision import EXACT, products
from fac_jax.types import Array, InputError, Params

THETA: float = 10000.0
BOUND: float = 0.9990000128746033  # largest absolute value of a feature, as the release stores it
POWERS: np.ndarray = 3 ** np.arange(DIGITS)  # place value of each digit, the least significant first

PIECE: Final = 30 * RATE
SHORT: Final = RATE  # a last piece of fewer samples is joined with the piece before it
LEAST: Final = 4 * HOP  # samples of an id
BUCKET: Final = 5 * RATE  # programs are compiled for multiples of this number of samples
ROWS: Final = 8  # most pieces that a device reads at a time


class MemoryAttention(nn.Module):
    """Rotary attention plus FSMN's memory: a convolution over the values (docs/codec_model.md, section 1.3)."""

    config: TokenizerConfig

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B T D"], table: Rope, visibility: Visibility, valid: Bool[jax.Array, "B T"]
    ) -> Float[jax.Array, "B T D"]:
        """Mixes the steps of every row. The memory reads and writes only the steps that are `valid`."""
        c, width = self.config, x.shape[-1]
        q, k, v = (Linear(width, (axes.EMBED, axes.HEADS), name != "k", name=name)(x) for name in "qkv")
        heads = [rearrange(a, "b t (n h) -> b t n h", n=c.num_heads) for a in (q, k, v)]
        out = einsum_attend(rotate(heads[0], table), rotate(heads[1], table), heads[2], visibility)
        out = Linear(width, (axes.HEADS, axes.EMBED), True, name="o")(rearrange(out, "b t n h -> b t (n h)"))
        held = jnp.where(valid[..., None], v, 0)
        memory = DepthwiseConv1d(c.fsmn_width, axes.EMBED, name="fsmn")(held) + held
        return out + jnp.where(valid[..., None], memory, 0)


class TokenizerLayer(nn.Module):
    """One transformer block, with a layer norm before each half."""

    config: TokenizerConfig

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "B T D"], table: Rope, visibility: Visibility, valid: Bool[jax.Array, "B T"]
    ) -> tuple[Float[jax.Array, "B T D"], None]:
        """Returns the block's output, and None as the output of a scanned layer."""
        c = self.config
        normed = LayerNorm(c.attention_norm_eps, name="attention_norm")(x)
        x = x + MemoryAttention(c, name="attention")(normed, table, visibility, valid)
        x = x + GeluMLP(4 * c.width, name="mlp")(LayerNorm(c.mlp_norm_eps, name="mlp_norm")(x))
        return x, None


class S3Tokenizer(nn.Module):
    """Turns a log-mel into speech ids.

    Rows of a batch do not see each other, and no row sees anything after its own length.
    """

    config: TokenizerConfig

    @nn.compact
    def __call__(self, mel: Float[Array, "B M mel_bins"], lengths: Int[Array, " B"]) -> Int[jax.Array, "B T"]:
        """Returns ids, T = `ceil(M / 4)`; the first `token_lengths(lengths)` of a row are valid.

        Args:
          mel: log-mel float32 at 100 Hz (`audio.mel.log_mel`).
          lengths: mel frames of every row.
        """
        c = self.config
        x, lengths = jnp.asarray(mel), jnp.asarray(lengths)
        for name, source in (("conv1", axes.MEL), ("conv2", axes.EMBED)):
            x = jnp.where((jnp.arange(x.shape[1]) < lengths[:, None])[..., None], x, 0)
            x = Conv1d(c.width, 3, (axes.CONV, source, axes.MLP), stride=2, padding=(1, 1), name=name)(x)
            x, lengths = jax.nn.gelu(x, approximate=False), halved(lengths)
        positions = jnp.broadcast_to(jnp.arange(x.shape[1]), x.shape[:2])
        valid = positions < lengths[:, None]
        # Steps after the length see those within it, as in the release; nothing reads their outputs.
        visibility = Visibility(jnp.ones_like(positions), valid.astype(jnp.int32), positions, positions, causal=False)
        table = rope(positions, c.width // c.num_heads, THETA)
        x, _ = stacked(TokenizerLayer, c.depth)(c, name="layers")(x, table, visibility, valid)
        features = jnp.tanh(Linear(DIGITS, (axes.EMBED, axes.CODEBOOK), True, name="project_down")(x)) * BOUND
        return (jnp.round(features).astype(jnp.int32) + 1) @ POWERS.astype(np.int32)


def halved(lengths: Any) -> Any:
    """Output steps of a convolution of stride 2: half of `lengths`, rounded up. Takes integers or integer arrays."""
    return (lengths + 1) // 2


def token_lengths(mel_lengths: Any) -> Any:
    """Number of ids of `mel_lengths` frames: a quarter, rounded up. Takes integers or integer arrays."""
    return halved(halved(mel_lengths))


@functools.partial(jax.jit, static_argnames="config")
def _ids(
    config: TokenizerConfig, params: Params, waves: Float[jax.Array, "B N"], lengths: Int[jax.Array, " B"]
) -> Int[jax.Array, "B T"]:
    """Returns the ids of a batch of waves at 16 kHz with `lengths` samples."""
    with products(EXACT):  # a lower precision changes ids
        model = S3Tokenizer(config)
        return model.apply({"params": params}, log_mel(waves, lengths), lengths // HOP)  # type: ignore[return-value]


class WaveTokenizer:
    """The S3 tokenizer with its parameters on devices."""

    def __init__(self, config: TokenizerConfig, params: Params) -> None:
        """Takes parameters of `S3Tokenizer`; the devices of this host share the waves."""
        mesh = Mesh(np.array(jax.local_devices()), ("data",))
        self._config = config
        self._rows = NamedSharding(mesh, PartitionSpec("data"))
        self._params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))

    def __call__(self, waves: Sequence[Float[np.ndarray, " _N"]]) -> list[Int32[np.ndarray, " _T"]]:
        """Tokenizes waves at 16 kHz, cut as the release cuts them, into 25 ids a second.

        Raises:
          InputError: a wave is shorter than an id; names its index.
        """
        for number, wave in enumerate(waves):
            if len(wave) < LEAST:
                raise InputError(f"speech {number} of the batch has {len(wave)} samples; one id takes {LEAST}")
        cut = [(number, piece) for number, wave in enumerate(waves) for piece in pieces(wave, PIECE, SHORT)]
        order = sorted(range(len(cut)), key=lambda i: len(cut[i][1]))
        most = ROWS * self._rows.num_devices
        found: dict[int, np.ndarray] = {}
        for _, group in itertools.groupby(order, key=lambda i: _bucket(len(cut[i][1]))):
            alike = list(group)
            for batch in (alike[start : start + most] for start in range(0, len(alike), most)):
                found |= zip(batch, self._read([cut[i][1] for i in batch]), strict=True)
        return [
            np.concatenate([found[i] for i, (owner, _) in enumerate(cut) if owner == number])
            for number in range(len(waves))
        ]

    def _read(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Returns the ids of pieces of one bucket; the batch is padded to a power of two for each device."""
        devices = self._rows.num_devices
        rows = devices * 2 ** max(0, -(-len(waves) // devices) - 1).bit_length()
        samples, lengths = np.zeros((rows, _bucket(len(waves[-1]))), np.float32), np.full(rows, LEAST, np.int32)
        for row, wave in enumerate(waves):
            samples[row, : len(wave)], lengths[row] = wave, len(wave)
        ids = np.asarray(_ids(self._config, self._params, *jax.device_put((samples, lengths), self._rows)))
        return [row[: token_lengths(len(wave) // HOP)] for row, wave in zip(ids, waves, strict=False)]


def _bucket(samples: int) -> int:
    """Rounds a number of samples up to a bucket."""
    return -(-samples // BUCKET) * BUCKET
