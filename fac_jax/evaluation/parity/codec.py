"""Compares the codec with recorded runs of the release: every recorded quantity against its limit.

A folder of recordings holds `s3tokenizer/`, `flow/` and `hift/`, each with `weights.safetensors` (torch names),
`config.json` (constructor values) and `io.npz`. It may hold `token2wav/`, which uses the weights of the other two.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import jax

from fac_jax.evaluation.parity import flow, token2wav, tokenizer, vocoder
from fac_jax.evaluation.parity.model import Figure
from fac_jax.evaluation.parity.recording import Recording, read_recording
from fac_jax.types import InputError

PARTS: Final[Mapping[str, Callable[[Recording], Iterator[Figure]]]] = {
    "s3tokenizer": tokenizer.compare,
    "flow": flow.compare,
    "hift": vocoder.compare,
    "token2wav": token2wav.compare,
}


def compare_codec(folder: Path) -> Iterator[Figure]:
    """Yields all figures of a folder of recordings, computed in float32 at the highest precision.

    Raises:
      InputError: the folder has no recording, or a recording is damaged or lacks an array.
    """
    known = [name for name in PARTS if (folder / name).is_dir()]
    if not known:
        raise InputError(f"{folder} holds none of {', '.join(PARTS)}")
    for name in known:
        recording = read_recording(folder / name)
        try:
            with jax.default_matmul_precision("highest"):
                for figure in PARTS[name](recording):
                    yield dataclasses.replace(figure, name=f"{name}: {figure.name}")
        except InputError as error:
            message = str(error)
            named = message if message.startswith(str(folder)) else f"{folder / name}: {message}"
            raise InputError(named) from error
