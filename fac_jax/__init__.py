"""Fun-Audio-Chat in JAX and Flax Linen.

`fac_jax.load(DIR).respond(wave, rate=16000)` asks a trained model; the other modules are imported by their names.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fac_jax.api import Model
    from fac_jax.parallel.kernels import Quantized

__version__ = "0.1.0"


def load(
    folder: str | os.PathLike[str],
    codec: str | os.PathLike[str] | None = None,
    quantize: "Quantized | None" = None,
    quantize_tables: bool = False,
    adapter: str | os.PathLike[str] | None = None,
    any_base: bool = False,
) -> "Model":
    """Loads a trained model, its tokenizer and its codec.

    Args:
      folder: a run's workdir (its last finished stage), a stage, a finished model, or a checkpoint in the released
        layout, which is read as it is.
      codec: folder of a codec of the same ids, in place of the model's own.
      quantize: "int8", "fp8", "int4" or "nf4" for the kernels of Shared LLM, refined head and audio encoder; None for
        values as they are stored (docs/generation.md, "Weights").
      quantize_tables: whether the tables of text and speech ids are int8.
      adapter: folder of a low-rank adapter of the model in PEFT's format, or a stage that trained one
        (docs/adapters.md); None for none.
      any_base: whether the adapter may have been made for a base with other values.

    Returns:
      a model whose `respond` answers waves and texts.

    Raises:
      InputError: there is no such model, a file of it is missing or damaged, `quantize` is no form, or the adapter is
        none of this model.
    """
    from fac_jax.api import Model  # `import fac_jax` must not wait for jax

    return Model.load(folder, codec, quantize, quantize_tables, adapter, any_base)
