"""Scorers of full-duplex calls: two waves of one clock, annotated times and timed words (docs/evaluation.md)."""
