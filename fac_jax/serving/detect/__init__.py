"""Detectors of speech and of turns in a user's audio."""
