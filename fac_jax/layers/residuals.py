"""Names of the activations that a layer may keep for its backward pass (`models/remat.py` chooses among them)."""

from typing import Final

LAYER_INPUT: Final = "layer_input"  # [B, T, D], the residual stream before the layer
PROJECTIONS: Final = "attention_projections"  # queries, keys and values as their matrix products give them
ATTENTION: Final = "attention_output"  # [B, T, N, H], before the output projection
MLP_INPUT: Final = "mlp_input"  # [B, T, D], the residual stream between attention and feed-forward
