"""Builders, synthesis and loaders: everything that makes a Batch."""
