"""Measurements of training, decoding, data loading and the codec."""
