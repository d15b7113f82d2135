"""From data sets to batches: mixtures, encoding, packing, worker processes."""
