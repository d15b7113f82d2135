"""Voices that nothing is trained on, where they are installed (Debian has all): flite, festival, and a person.

The person speaks single words, which are joined: the prompts of Asterisk (`asterisk-core-sounds-en-g722`).
"""

import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

from data_pipelines.worlds.arithmetic import NUMBERS
from fac_jax.audio import io
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Synthesizer:
    """A voice of a program that speaks a text into a WAV file.

    Attributes:
      name: of the voice, "flite slt".
      command: its words; FILE and TEXT in them stand for the file and for the text. Without TEXT it reads the text from
        its standard input.
    """

    name: str
    command: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Returns whether the program is there."""
        return shutil.which(self.command[0]) is not None

    def speak(self, text: str) -> np.ndarray:
        """Speaks a text, float32 `[N]` at 16 kHz.

        Raises:
          InputError: the program fails.
        """
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "spoken.wav"
            words = [{"FILE": str(file), "TEXT": text}.get(word, word) for word in self.command]
            done = subprocess.run(words, input=text.encode(), capture_output=True)
            if done.returncode or not file.exists():
                reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no sound"]
                raise InputError(f"{self.name}: {reason[0]}")
            return io.load(file)

    def speak_all(self, texts: Sequence[str], processes: int = 2) -> list[np.ndarray]:
        """Speaks texts, in their order; raises as `speak`."""
        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(self.speak, texts))


@dataclasses.dataclass(frozen=True)
class Person:
    """A person's recorded words.

    Attributes:
      name: of the voice.
      folder: of the recordings.
      words: file of each word there; other words are left out.
    """

    name: str
    folder: Path
    words: Mapping[str, str]

    @property
    def installed(self) -> bool:
        """Returns whether the recordings are there, and the program that decodes them (ffmpeg)."""
        return self.folder.is_dir() and shutil.which("ffmpeg") is not None

    def speak_all(self, texts: Sequence[str], processes: int = 2) -> list[np.ndarray]:
        """Joins the words of texts, float32 `[N]` at 16 kHz, in their order.

        Raises:
          InputError: a recording is missing or cannot be decoded.
        """
        needed = sorted({word for text in texts for word in text.split() if word in self.words})
        with ThreadPoolExecutor(processes) as pool:
            waves = pool.map(lambda word: io.load(self.folder / self.words[word]), needed)
            spoken = dict(zip(needed, waves, strict=True))
        return [np.concatenate([spoken[word] for word in text.split() if word in spoken]) for text in texts]


PERSON: Final = Person(
    "a person, words joined",
    Path("/usr/share/asterisk/sounds/en"),
    {
        **{word: f"digits/{number}.g722" for number, word in enumerate(NUMBERS)},
        "plus": "letters/plus.g722",
        "minus": "digits/minus.g722",
    },
)
VOICES: Final = (
    *(
        Synthesizer(f"flite {voice}", ("flite", "-voice", voice, "-t", "TEXT", "-o", "FILE"))
        for voice in ("slt", "awb", "rms", "kal16")
    ),
    Synthesizer("festival", ("text2wave", "-o", "FILE")),
    PERSON,
)
