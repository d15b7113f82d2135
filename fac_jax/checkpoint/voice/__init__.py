"""The released voice's checkpoints: names, configuration, conversion."""
