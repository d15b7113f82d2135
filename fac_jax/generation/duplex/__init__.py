"""Live calls: what they carry from slot to slot, and the programs that run them (docs/duplex.md, "Runtime")."""
