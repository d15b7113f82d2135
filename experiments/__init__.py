"""Thin launchers and their configurations."""
