"""A run: what a config asks for, as data, model and stages."""
