"""Warnings about rows that can be trained on but look wrong: silence, clipping, text that does not fit its audio."""

from typing import Final

import numpy as np

from data_pipelines.records.record import Audio, Message, Record
from fac_jax.audio.io import RATE

SILENT_PEAK: Final = 1e-3  # of full scale, -60 dB
CLIPPED_AT: Final = 0.999  # of full scale
CLIPPED_SHARE: Final = 0.001  # of the samples
CHARACTERS_A_SECOND: Final = (1.0, 40.0)  # slow and fast speech of any script


def lint(record: Record) -> list[tuple[str, str]]:
    """Names and details of what looks wrong in a checked record, whose audio is decoded.

    The names are "silent", "clipped" and "text_rate"; the details name the audio.
    """
    found = []
    for message in (*record.messages, *record.replies):
        audio = message.audio
        if audio is None or audio.wave is None:
            continue
        name = f"the {message.role}'s audio{f' {audio.named}' if audio.named else ''}"
        found += [(kind, f"{name} {detail}") for kind, detail in lint_wave(audio.wave)]
        found += [("text_rate", f"{name} {detail}") for detail in _text_rate(message, audio)]
    return found


def lint_wave(wave: np.ndarray) -> list[tuple[str, str]]:
    """Names and details of what looks wrong in a wave float32 `[N]` at 16 kHz: "silent" or "clipped"."""
    peak = float(np.abs(wave).max())
    if peak < SILENT_PEAK:
        return [("silent", f"is silent: its greatest sample is {peak:.1e} of full scale")]
    share = float(np.mean(np.abs(wave) >= CLIPPED_AT))
    if share >= CLIPPED_SHARE:
        return [("clipped", f"is clipped: {share:.1%} of its samples are at full scale")]
    return []


def _text_rate(message: Message, audio: Audio) -> list[str]:
    assert audio.wave is not None
    text = message.text if message.role == "assistant" else audio.transcript
    seconds = len(audio.wave) / RATE
    rate = len(text.strip()) / seconds
    least, most = CHARACTERS_A_SECOND
    if not text.strip() or least <= rate <= most:
        return []
    return [f"has {rate:.1f} characters a second of text ({len(text.strip())} in {seconds:.2f} s)"]
