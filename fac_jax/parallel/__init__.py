"""Meshes, logical-to-mesh rules, kernels by device."""
