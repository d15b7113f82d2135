"""Ablations of the paper at toy scale, a sweep a file: docs/ablations.md has what they found."""
