"""Scorers of the benchmarks that the paper reports, one file a scorer (docs/evaluation.md)."""
