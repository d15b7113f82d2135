"""Speech of synthesizers that nothing is trained on: flite and festival, where they are installed (Debian has both)."""

import dataclasses
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np

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


SYNTHESIZERS: Final = (
    *(
        Synthesizer(f"flite {voice}", ("flite", "-voice", voice, "-t", "TEXT", "-o", "FILE"))
        for voice in ("slt", "awb", "rms", "kal16")
    ),
    Synthesizer("festival", ("text2wave", "-o", "FILE")),
)
