"""A tiny spoken world, and a model's grid and a tokenizer for it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.worlds.arithmetic import WorldConfig, rows
from data_pipelines.worlds.preferences import PairsConfig
from data_pipelines.worlds.storage import read_rows
from fac_jax.batching.conversation import Conversation
from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer

WORLD = WorldConfig(limit=2, test_pairs=2, dev_pairs=1, clips_per_pair=2, read_aloud=4, read_sums=2, transcribe=2)
PAIRS = PairsConfig(train=4, test=4)
UNITS = 16


class LoudnessCodec:
    """A codec for tests: the unit of 40 ms is their loudness."""

    heard_rate = rate = 16_000
    units = UNITS

    def encode_batch(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        levels = [np.abs(wave[: len(wave) // 640 * 640]).reshape(-1, 640).mean(axis=1) for wave in waves]
        return [np.minimum(level * 4 * UNITS, UNITS - 1).astype(np.int32) for level in levels]


def rows_of(folder: Path, split: str) -> list[Any]:
    """The rows of a stored split, which are all of one kind."""
    return list(read_rows(folder, split))


def make_tokenizer(folder: Path) -> Tokenizer:
    texts = [text for split in rows(WORLD).values() for row in split for text in (row.question, row.reply)]
    return train_tokenizer(texts, 600, folder / "tokenizer.json")


def make_model(tokenizer: Tokenizer) -> ModelConfig:
    decoder = DecoderConfig(width=32, depth=1, mlp_width=32, num_heads=2, num_kv_heads=1, head_dim=16)
    return ModelConfig(
        text=decoder,
        audio=EncoderConfig(width=16, depth=1, num_heads=2, mlp_width=32, n_window=20),
        head=decoder,
        vocab_size=tokenizer.vocab_size,
        codebook_size=UNITS + 4,
        special=tokenizer.special_ids(UNITS),
    )


def texts(conversations: Sequence[Conversation]) -> list[tuple[str, ...]]:
    return [tuple(turn.text for turn in c.turns) for c in conversations]
