"""Sweeps, one a file (docs/sweeps.md)."""
