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
) -> "Model":
    """Loads a trained model, its tokenizer and its codec.

    Args:
      folder: a run's workdir (its last finished stage), a stage, a finished model, or a checkpoint in the released
        layout, which is read as it is.
      codec: folder of a codec of the same ids, in place of the model's own.
      quantize: "int8", "fp8", "int4" or "nf4" for the kernels of Shared LLM, refined head and audio encoder; None for
        values as they are stored (docs/generation.md, "Weights").
      quantize_tables: whether the tables of text and speech ids are int8.

    Returns:
      a model whose `respond` answers waves and texts.

    Raises:
      InputError: there is no such model, a file of it is missing or damaged, or `quantize` is no form.
    """
    from fac_jax.api import Model  # `import fac_jax` must not wait for jax

    return Model.load(folder, codec, quantize, quantize_tables)
