"""The model whose export PyTorch has run (tests/golden/export): random weights, a tokenizer of its own.

python tests/support/export_example.py DIR     writes DIR, a model folder
"""

import sys
from pathlib import Path

import jax
from initial import initial_params

from fac_jax.checkpoint.export import export_model
from fac_jax.models.config import DecoderConfig, EncoderConfig, ModelConfig
from fac_jax.text.tokenizer import train_tokenizer

ORIGIN = {"stage": "example", "order": 0, "steps": 0}
TEXTS = [f"what is {a} plus {b}? it is {a + b}." for a in range(10) for b in range(10)]
UNITS = 32


def write_example(folder: Path) -> None:
    """Writes a model folder with random weights, its norms and biases random too."""
    file = folder.with_name("tokenizer.json")
    tokenizer = train_tokenizer(TEXTS, 320, file)
    config = ModelConfig(
        text=DecoderConfig(width=48, depth=2, mlp_width=64, num_heads=4, num_kv_heads=2, head_dim=16),
        audio=EncoderConfig(width=32, depth=2, num_heads=2, mlp_width=48, n_window=50),
        head=DecoderConfig(width=32, depth=1, mlp_width=48, num_heads=2, num_kv_heads=1, head_dim=16),
        vocab_size=tokenizer.vocab_size,
        codebook_size=UNITS + 4,
        special=tokenizer.special_ids(UNITS),
        tie_embeddings=True,
        context=256,
    )
    leaves, structure = jax.tree.flatten(initial_params(config))
    keys = jax.random.split(jax.random.key(2), len(leaves))
    noisy = [leaf + 0.1 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    export_model(folder, jax.tree.unflatten(structure, noisy), config, ORIGIN, {file.name: file})
    file.unlink()


if __name__ == "__main__":
    write_example(Path(sys.argv[1]))
