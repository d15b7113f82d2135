"""espeak-ng through ctypes, with the library and voices of the `espeakng-loader` wheel.

Run as a module this is the worker of `synthesis.speak_all`: it imports neither jax nor our other code, so that a fresh
interpreter is cheap. The waveform of a call depends on the calls before it in the same process.
"""

import ctypes
import dataclasses
import functools
import io
import json
import sys

import espeakng_loader
import numpy as np
import soxr

SAMPLE_RATE = 16_000  # Hz, of what `speak` returns
FRAME = 160  # samples (10 ms) over which silence is judged
SILENCE = 0.01  # of the loudest frame's RMS (-40 dB)
MARGIN = 2  # frames kept on both sides of the speech

_SYNCHRONOUS, _CHARS_UTF8 = 2, 1  # AUDIO_OUTPUT_SYNCHRONOUS (the callback runs inside the call), espeakCHARS_UTF8
_RATE, _PITCH, _PAUSE = 1, 3, 7  # espeakRATE, espeakPITCH, espeakWORDGAP
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclasses.dataclass(frozen=True, order=True)
class Voice:
    """How a text is spoken.

    Attributes:
      name: espeak-ng voice with an optional variant, e.g. "en-us" or "en-gb-scotland+f1".
      rate: words per minute.
      pitch: 0 to 99, 50 is the voice's own.
      pause: between words, beyond the voice's own, in 10 ms at the usual rate.
    """

    name: str
    rate: int = 190
    pitch: int = 50
    pause: int = 0


class _Engine:
    """The one espeak-ng of this process."""

    def __init__(self) -> None:
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.rate: int = self._lib.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
        if self.rate <= 0:
            raise RuntimeError("espeak-ng did not start: reinstall the espeakng-loader wheel")
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(0))  # of breath noise; the library seeds it with the clock
        self._pieces: list[np.ndarray] = []
        self._callback = _CALLBACK(self._receive)  # kept, or it is collected while the library still calls it
        self._lib.espeak_SetSynthCallback(self._callback)
        self._voice: str | None = None

    def _receive(self, wave: "ctypes._Pointer[ctypes.c_short]", samples: int, _: int) -> int:
        if wave and samples > 0:
            self._pieces.append(np.ctypeslib.as_array(wave, (samples,)).copy())
        return 0

    def synthesize(self, text: str, voice: Voice) -> np.ndarray:
        if voice.name != self._voice:  # a change of voice costs more than a sentence
            if self._lib.espeak_SetVoiceByName(voice.name.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice.name!r}")
            self._voice = voice.name
        self._lib.espeak_SetParameter(_RATE, voice.rate, 0)
        self._lib.espeak_SetParameter(_PITCH, voice.pitch, 0)
        self._lib.espeak_SetParameter(_PAUSE, voice.pause, 0)
        self._pieces.clear()
        data = text.encode() + b"\0"
        self._lib.espeak_Synth(data, ctypes.c_size_t(len(data)), 0, 0, 0, _CHARS_UTF8, None, None)
        wave = np.concatenate([np.empty(0, np.int16), *self._pieces])
        if not wave.any():
            raise ValueError(f"espeak-ng spoke nothing for the text {text!r}")
        return wave


_engine = functools.cache(_Engine)


def trim(wave: np.ndarray) -> np.ndarray:
    """Cuts leading and trailing silence, to whole 10 ms frames and a margin of two. `[N]` at 16 kHz -> `[N']`."""
    frames = wave[: len(wave) // FRAME * FRAME].reshape(-1, FRAME)
    level = np.sqrt(np.square(frames).mean(axis=1))
    loud = np.flatnonzero(level > SILENCE * level.max())
    return wave[max(0, loud[0] - MARGIN) * FRAME : (loud[-1] + 1 + MARGIN) * FRAME]


def speak(text: str, voice: Voice) -> np.ndarray:
    """Speaks one text: float32 `[N]` at 16 kHz in [-1, 1], silence trimmed.

    Raises:
      ValueError: a voice that espeak-ng does not have, or a text with nothing to say.
    """
    engine = _engine()
    wave = engine.synthesize(text, voice).astype(np.float32) / 32768
    return trim(soxr.resample(wave, engine.rate, SAMPLE_RATE))


def main() -> None:
    """Reads JSON `[[text, fields of a voice ..], ..]` from stdin, writes an npz of int16 `wave` and its `lengths`."""
    jobs: list[tuple[str, str, int, int, int]] = json.load(sys.stdin)
    try:
        waves = [speak(text, Voice(name, rate, pitch, pause)) for text, name, rate, pitch, pause in jobs]
    except ValueError as error:
        sys.exit(str(error))
    samples = np.clip(np.rint(np.concatenate(waves) * 32768), -32768, 32767).astype(np.int16)
    out = io.BytesIO()
    np.savez(out, wave=samples, lengths=[len(w) for w in waves])
    sys.stdout.buffer.write(out.getvalue())


if __name__ == "__main__":
    main()
