"""Libraries of `experiments.score` and of `experiments.evaluate --benchmark`."""
