"""Sampling, caches and joint decoding."""
