"""Stores of parameters and conversion between formats."""
