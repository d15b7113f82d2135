"""Recorded outcomes of official scorers, and how each of them is scored anew."""
