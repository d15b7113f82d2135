"""Scores of finished calls in the twelve scenarios, and of a half-duplex model behind a detector (docs/duplex.md)."""
