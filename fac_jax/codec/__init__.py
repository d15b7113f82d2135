"""Waveform to 25 Hz speech tokens and back."""
