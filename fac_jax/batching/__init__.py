"""From conversations to batches: the 5 Hz grid, features, collation, packing, preference pairs."""
