"""Tokenizes waves with the S3 tokenizer: pieces of 30 s, batched by length, spread over the devices of the host."""

import functools
import itertools
from collections.abc import Sequence
from typing import Final

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Float, Int, Int32

from fac_jax.audio.mel import HOP, RATE, log_mel, mel_frames
from fac_jax.codec.cosyvoice.config import TokenizerConfig, pieces
from fac_jax.codec.cosyvoice.s3_tokenizer import S3Tokenizer, token_lengths
from fac_jax.types import InputError, Params

PIECE: Final = 30 * RATE
SHORT: Final = RATE  # a last piece of fewer samples is joined with the piece before it
LEAST: Final = 4 * HOP  # samples of an id
BUCKET: Final = 5 * RATE  # programs are compiled for multiples of this number of samples
ROWS: Final = 8  # most pieces that a device reads at a time


@functools.partial(jax.jit, static_argnames="config")
def _ids(
    config: TokenizerConfig, params: Params, waves: Float[jax.Array, "B N"], lengths: Int[jax.Array, " B"]
) -> Int[jax.Array, "B T"]:
    """Returns the ids of a batch of waves at 16 kHz with `lengths` samples."""
    with jax.default_matmul_precision("highest"):  # a lower precision changes ids
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
        return [row[: token_lengths(mel_frames(len(wave)))] for row, wave in zip(ids, waves, strict=False)]


def _bucket(samples: int) -> int:
    """Rounds a number of samples up to a bucket."""
    return -(-samples // BUCKET) * BUCKET
