"""Report pages of runs and of comparisons between runs."""
