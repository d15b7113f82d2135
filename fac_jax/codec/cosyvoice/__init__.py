"""The released voice: speech tokenizer, flow matching and vocoder, in JAX."""
