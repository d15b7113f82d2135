"""An adapter for a model folder: random numbers in all its modules.

python tests/support/export_adapter.py MODEL DIR     writes DIR, in PEFT's format for the release's classes
"""

import sys
from pathlib import Path

from adapters import EVERYTHING, adapted_params

from fac_jax.checkpoint.adapters.adapter import trained_adapter
from fac_jax.checkpoint.adapters.base import base_digest
from fac_jax.checkpoint.adapters.save import save_adapter
from fac_jax.checkpoint.export import load_params
from fac_jax.models.lora import LoraConfig, adapter_of


def write_adapter(model: Path, folder: Path) -> None:
    """Writes an adapter that knows its base."""
    params, config = load_params(model)
    leaves = adapter_of(adapted_params(params, LoraConfig(EVERYTHING, rank=4, alpha=16.0)))
    save_adapter(folder, trained_adapter(leaves, base=base_digest(params, config)), config)


if __name__ == "__main__":
    write_adapter(Path(sys.argv[1]), Path(sys.argv[2]))
