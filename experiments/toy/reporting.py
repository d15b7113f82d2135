"""Tools of the launchers with a report: clock, curves, environment, files for comparisons, and shortened configs."""

import dataclasses
import io
import json
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from etils import epath
from ml_collections import ConfigDict

from fac_jax.evaluation.reports.machine import machine
from fac_jax.evaluation.reports.pages.figures import Series
from fac_jax.evaluation.reports.pages.page import Sound
from fac_jax.io import write_text
from fac_jax.parallel.hosts import is_first
from fac_jax.training.metrics import read_curve
from fac_jax.types import InputError

PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "librosa", "numpy")


@dataclasses.dataclass(frozen=True)
class Reply:
    """The reply of a run to a prompt; `voice`, the user's, distinguishes prompts of the same words."""

    prompt: str
    voice: str
    written: str
    asked: Sound | None
    spoken: Sound | None


def write_items(workdir: epath.Path, items: Mapping[str, Mapping[str, float]]) -> None:
    """Writes the value of each question, by metric and id, for comparisons of runs (`items.json`)."""
    write_text(workdir / "items.json", json.dumps(items) + "\n")


def write_sounds(workdir: epath.Path, replies: Iterable[Reply]) -> None:
    """Writes the replies that have sounds as FLAC, and `sounds.json`, which names their files, for comparisons."""
    sounds: list[dict[str, str | None]] = []
    (workdir / "sounds").mkdir(parents=True, exist_ok=True)

    def save(name: str, sound: Sound | None) -> str | None:
        if sound is None:
            return None
        flac = io.BytesIO()
        soundfile.write(flac, np.clip(sound.wave, -1.0, 1.0), sound.rate, format="FLAC", subtype="PCM_16")
        (workdir / "sounds" / name).write_bytes(flac.getvalue())
        return f"sounds/{name}"

    for number, reply in enumerate(one for one in replies if one.asked):
        names = {
            "asked": save(f"{number}-asked.flac", reply.asked),
            "spoken": save(f"{number}-reply.flac", reply.spoken),
        }
        sounds.append({"prompt": reply.prompt, "voice": reply.voice, "written": reply.written, **names})
    write_text(workdir / "sounds.json", json.dumps(sounds, indent=2) + "\n")


class Clock:
    """Seconds of the parts of a run; a part that an earlier start of the run finished keeps its seconds."""

    def __init__(self, file: epath.Path) -> None:
        self._file = file
        self.parts: dict[str, float] = json.loads(file.read_text()) if file.exists() else {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """Adds the time since the last lap to a part."""
        now = time.monotonic()
        self.parts[name] = self.parts.get(name, 0.0) + now - self._last
        self._last = now
        if is_first():
            write_text(self._file, json.dumps(self.parts))


def folders(workdir: str, data_dir: str | None) -> tuple[epath.Path, epath.PathLike]:
    """Returns the folder of a run and that of its data sets, which is inside it unless another is given.

    Raises:
      InputError: the run's folder is a file.
    """
    run = epath.Path(workdir)
    if run.exists() and not run.is_dir():
        raise InputError(f"{run}: is a file; give a folder")
    return run, data_dir or run / "data"


def curves(directory: epath.Path) -> dict[str, Series]:
    """Returns the losses over steps of a stage directory; none if it is no stage."""
    lines = read_curve(directory)
    names = [name for name in lines[0] if name.endswith("_loss")] if lines else []
    steps = [line["step"] for line in lines]
    return {name.replace("_", " "): (steps, [line[name] for line in lines]) for name in names}


def environment(seed: int) -> dict[str, str]:
    """Returns the command, the seed, the machine and the packages of the run."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "command": " ".join([f"python -m experiments.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
        "seed": str(seed),
        "machine": machine(),
        "python": platform.python_version(),
        "packages": versions,
    }


def shortened(config: ConfigDict, **data: Any) -> ConfigDict:
    """Returns the config of a toy run with few rows, few steps in every stage, and changes of `config.data`."""
    short: Any = config.copy_and_resolve_references()
    few = {"clips_per_pair": 1, "read_aloud": 40, "read_sums": 40, "transcribe": 10}
    world = {key: min(count, short.data.world[key]) for key, count in few.items()}
    steps = {name: {"steps": min(6, stage.steps)} for name, stage in short.stages.items()}
    short.update({"data": {"world": world, **data}, "stages": steps})
    return short
