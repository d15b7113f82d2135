"""Waveforms: loading, resampling, log-mel."""
