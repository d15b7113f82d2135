"""The closed set of logical axis names.

Modules annotate parameters and activations with these names only; `fac_jax/parallel/rules.py` maps them to mesh axes.
A name that is not in `ALL` would silently stay unsharded, so a test holds every module to this set.
"""

from typing import Final

VOCAB: Final = "vocab"  # text vocabulary
CODEBOOK: Final = "codebook"  # speech codebook, specials included
EMBED: Final = "embed"  # width of a residual stream
MLP: Final = "mlp"  # hidden width of a feed-forward block
HEADS: Final = "heads"  # query heads
KV_HEADS: Final = "kv_heads"  # key/value heads
AUDIO_HEADS: Final = "audio_heads"  # heads of the audio encoder
HEAD_DIM: Final = "head_dim"  # features of one head
EXPERTS: Final = "experts"  # mixture-of-experts experts
LAYERS: Final = "layers"  # stacked (scanned) layers
GROUP: Final = "group"  # speech tokens of one LLM position
CONV: Final = "conv"  # kernel positions of a convolution
MEL: Final = "mel"  # mel bins
BATCH: Final = "batch"  # rows of a batch
LENGTH: Final = "length"  # positions of a row, at 5 or 25 Hz
WINDOWS: Final = "windows"  # encoder windows of a batch

ALL: Final = frozenset(value for name, value in tuple(globals().items()) if name.isupper())
