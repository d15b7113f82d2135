"""Scores of what a reply says and of what is heard of it."""
