"""Low-rank adapters on disk, in the format of the PEFT library (docs/adapters.md)."""
