"""Augmentation of waveforms."""
