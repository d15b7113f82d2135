"""Comparison of runs: their configs, their figures, and confidence intervals."""
