"""One configuration a file; its header says the command, the time it takes and what it reaches."""
