"""Judges: language models, through an endpoint or a file of recorded replies, that say how good an answer is."""
