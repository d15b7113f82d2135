"""Full-duplex calls: one LLM position for every 200 ms, while both sides may speak."""
