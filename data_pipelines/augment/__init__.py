"""Augmentation of waveforms and of log-mel spectrograms."""
