"""Plans for accelerators that are not attached: memory, FLOPs, time of a step."""
