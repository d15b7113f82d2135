"""What looks wrong in a wave: by itself, and beside the waves that a model was trained to hear.

MODEL/heard.json    {"seconds": the most audio of a row of training, "level_db": [least, greatest] or null}
"""

import dataclasses
import json
from typing import Final

import numpy as np
from etils import epath
from jaxtyping import Float

from fac_jax.audio.front_end import level
from fac_jax.audio.mel import RATE
from fac_jax.io import write_text
from fac_jax.types import InputError

FILE: Final = "heard.json"
SILENT_PEAK: Final = 1e-3  # of full scale, -60 dB
CLIPPED_AT: Final = 0.999  # of full scale
CLIPPED_SHARE: Final = 0.001  # of the samples
FAR: Final = 6.0  # dB beyond the levels of training


@dataclasses.dataclass(frozen=True)
class Heard:
    """The waves that a model was trained to hear, in its last training.

    Attributes:
      seconds: the most audio of a row of the last training, in whole encoder windows, changes of its length included.
      level_db: least and greatest level (`front_end.level`) in dB of full scale; None where a front end makes it one.
    """

    seconds: float
    level_db: tuple[float, float] | None = None

    def save(self, file: epath.PathLike) -> None:
        """Writes a JSON file."""
        write_text(file, json.dumps(dataclasses.asdict(self)) + "\n")

    @classmethod
    def load(cls, file: epath.PathLike) -> "Heard":
        """Reads a JSON file.

        Raises:
          InputError: it is damaged.
        """
        try:
            values = json.loads(epath.Path(file).read_text())
            levels = values["level_db"]
            return cls(float(values["seconds"]), None if levels is None else (float(levels[0]), float(levels[1])))
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{file} is damaged: it holds seconds and level_db ({error!r})") from error

    def remarks(self, wave: Float[np.ndarray, " N"]) -> list[str]:
        """Says how a wave at 16 kHz is unlike those of training; empty for one like them."""
        found, seconds = [], len(wave) / RATE
        if seconds > self.seconds:
            found.append(f"is {seconds:.1f} s long: no row of training has more than {self.seconds:g} s of audio")
        loud = level(wave)
        if self.level_db is not None and loud is not None:
            least, most = self.level_db
            if not least - FAR <= loud <= most + FAR:
                found.append(f"has a level of {loud:.0f} dB: in training it was {least:.0f} to {most:.0f} dB")
        return found


def faults(wave: Float[np.ndarray, " N"]) -> list[tuple[str, str]]:
    """Names and details of what looks wrong in a wave float32 at 16 kHz: "silent" or "clipped"."""
    if not wave.size:
        return []
    peak = float(np.abs(wave).max())
    if peak < SILENT_PEAK:
        return [("silent", f"is silent: its greatest sample is {peak:.1e} of full scale")]
    share = float(np.mean(np.abs(wave) >= CLIPPED_AT))
    if share >= CLIPPED_SHARE:
        return [("clipped", f"is clipped: {share:.1%} of its samples are at full scale")]
    return []
