"""The benchmarks by family: how their rows are asked, and which scorers they have."""
