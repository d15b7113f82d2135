"""Fun-Audio-Chat in JAX and Flax Linen."""
