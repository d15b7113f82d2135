"""Sweeps: axes, the runs that they make, and where the runs are run."""
