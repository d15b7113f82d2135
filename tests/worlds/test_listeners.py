"""Other synthesizers: any program that speaks a text into a file."""

import sys

import numpy as np
import pytest

from data_pipelines.worlds.listeners import VOICES, Synthesizer
from fac_jax.types import InputError

# A program that writes a wave as long as its text, in place of one that may not be installed.
SCRIPT = """
import sys, soundfile, numpy
file, text = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else sys.stdin.read()
if text == "nothing": sys.exit("nothing to say")
soundfile.write(file, numpy.full(1000 * len(text), 0.1), 8000)
"""


@pytest.mark.parametrize("words", [("FILE", "TEXT"), ("FILE",)], ids=["text as a word", "text on stdin"])
def test_a_program_speaks_texts_in_their_order(words: tuple[str, ...]) -> None:
    voice = Synthesizer("stand-in", (sys.executable, "-c", SCRIPT, *words))
    found = voice.speak_all(["one", "seven"])
    assert voice.installed and [len(wave) for wave in found] == [6000, 10_000]
    assert found[0].dtype == np.float32


def test_a_program_that_fails_is_named() -> None:
    with pytest.raises(InputError, match="stand-in: nothing to say"):
        Synthesizer("stand-in", (sys.executable, "-c", SCRIPT, "FILE", "TEXT")).speak("nothing")


def test_programs_that_are_absent_are_known_to_be() -> None:
    assert not Synthesizer("none", ("no_such_program_anywhere",)).installed
    assert len({voice.name for voice in VOICES}) == len(VOICES)
