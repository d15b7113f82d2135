"""Runs held against each other: what they were, what they gave, and how sure that is."""
