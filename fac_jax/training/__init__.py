"""State, optimizer, one pure step and one loop for every stage."""
