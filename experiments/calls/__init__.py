"""Calls of the twelve scenarios: run with a model, answered by a baseline, scored, and shown on a page."""
