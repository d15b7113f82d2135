"""Comparisons with recorded runs of the released code."""
