"""Questions to models of the toy world, and their reports."""
