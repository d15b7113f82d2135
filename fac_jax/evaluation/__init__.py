"""Scores, comparisons with recorded runs, and report pages."""
