"""Checkpoints: the orbax store, and the release's names, configuration and batches."""
