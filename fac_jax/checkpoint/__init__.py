"""Checkpoints: the orbax store, and the release's names, configuration and batches."""

from fac_jax.checkpoint.release.batch import release_batch

__all__ = ["release_batch"]
