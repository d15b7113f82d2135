"""The model, its parts and its configuration."""
