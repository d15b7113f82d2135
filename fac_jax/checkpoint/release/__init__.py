"""The released model's checkpoints: names, configuration, conversion in both directions."""
