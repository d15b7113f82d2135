"""Loaders of the official benchmarks as they lie on disk; nothing is downloaded (docs/evaluation.md)."""
