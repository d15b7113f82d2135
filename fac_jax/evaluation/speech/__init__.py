"""Scores of the text and of the sound of a reply."""
