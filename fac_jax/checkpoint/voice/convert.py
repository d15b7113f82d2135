"""Conversion of the released voice into a codec of ours, which is complete or absent."""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from fac_jax.checkpoint.voice.onnx_tokenizer import is_published, read_tokenizer
from fac_jax.checkpoint.voice.release import from_torch
from fac_jax.checkpoint.voice.torch_file import read_torch
from fac_jax.codec.cosyvoice.codec import ORIGINS, PARTS, Description, write_codec
from fac_jax.codec.cosyvoice.token2wav import SpeechConfig
from fac_jax.types import InputError, Params

TOKENIZER: Final = "speech_tokenizer_v3.onnx"
SPEAKERS: Final = ("new_spk2info.pt", "spk2info.pt", "speakers.npz")
FILES: Final[Mapping[str, str]] = {"tokenizer": TOKENIZER, "flow": "flow.pt", "vocoder": "hift.pt"}
RELEASED: Final[Mapping[str, Any]] = {name: part.config() for name, part in PARTS.items()}


@dataclasses.dataclass(frozen=True)
class Converted:
    """The result of a conversion.

    Attributes:
      counts: number of parameters of each part.
      published: whether the tokenizer's file is the published one.
      speakers: names of the speakers.
      speaker: name of the speaker that decodes.
    """

    counts: Mapping[str, int]
    published: bool
    speakers: tuple[str, ...]
    speaker: str


def convert_codec(
    src: Path,
    dst: Path,
    speakers: Path | None = None,
    speaker: str | None = None,
    sizes: Mapping[str, Any] = RELEASED,
    wrap: Callable[[Iterable[str]], Iterable[str]] = iter,
) -> Converted:
    """Converts a folder of the released voice.

    Args:
      src: folder with `speech_tokenizer_v3.onnx`, `flow.pt` and `hift.pt`.
      dst: folder of the codec; it must not exist, and appears when the conversion is complete.
      speakers: file of speaker embeddings (`read_speakers`); None for one of `SPEAKERS` in `src`.
      speaker: name of the speaker that decodes; None for the first.
      sizes: configs of the three parts.
      wrap: wraps the names of the parts while they are converted, for a progress bar.

    Raises:
      InputError: `dst` exists; a file is missing (named with its origin), damaged or of another model.
    """
    if dst.exists():
        raise InputError(f"{dst} exists already; name another folder, or remove it")
    for part, file in FILES.items():
        if not (src / file).is_file():
            raise InputError(f"{src / file}: no such file; it is {ORIGINS[part]}")
    speakers = speakers or next((src / name for name in SPEAKERS if (src / name).is_file()), None)
    if speakers is None:
        known = ", ".join(SPEAKERS)
        raise InputError(f"{src} holds no speakers ({known}); give {ORIGINS['speakers']} with --speakers")
    embeddings = read_speakers(speakers)
    width = sizes["flow"].speaker_width
    for name, embedding in embeddings.items():
        if len(embedding) != width:
            raise InputError(f"{speakers}: speaker {name} is [{len(embedding)}], the flow takes [{width}]")
    speaker = speaker or next(iter(embeddings))
    if speaker not in embeddings:
        raise InputError(f"no speaker {speaker!r}; there are {', '.join(embeddings)}")
    unfinished = dst.with_name(f"{dst.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        read: dict[str, Params] = {}
        found = dict(sizes)
        for part in wrap(FILES):
            read[part], found[part] = _read_part(part, src / FILES[part], sizes[part])
        write_codec(unfinished, read, Description(found, SpeechConfig(), speaker), embeddings)
        os.replace(unfinished, dst)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # what could not be finished
    counts = {part: sum(int(leaf.size) for leaf in jax.tree.leaves(tree)) for part, tree in read.items()}
    return Converted(counts, is_published(src / TOKENIZER), tuple(embeddings), speaker)


def _read_part(part: str, file: Path, config: Any) -> tuple[Params, Any]:
    """Returns the parameters of a part, and its config with the values that the file adds; errors name the file."""
    if part == "tokenizer":
        tensors, config = read_tokenizer(file, config)
    else:
        tensors = read_torch(file)
        if not isinstance(tensors, dict) or not all(isinstance(one, np.ndarray) for one in tensors.values()):
            raise InputError(f"{file} holds no tensors by name")
    try:
        return from_torch(part, tensors, config), config
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def read_speakers(file: Path) -> dict[str, np.ndarray]:
    """Reads the embeddings of speakers, float32 `[192]` by name.

    The file is a `.npz` of arrays by name, or a `.pt` of `{name: {"embedding": tensor}}` or `{name: tensor}`; each is
    `[192]` or `[1, 192]`.

    Raises:
      InputError: the file is missing, damaged, or holds something else.
    """
    if file.suffix == ".npz":
        try:
            with np.load(file) as arrays:
                found: Any = dict(arrays)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{file}: no speakers (.npz): {error}") from error
    else:
        found = read_torch(file)
    embeddings: dict[str, np.ndarray] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        embedding = value.get("embedding") if isinstance(value, dict) else value
        if not isinstance(embedding, np.ndarray) or embedding.size == 0 or embedding.ndim > 2:
            raise InputError(f"{file}: speaker {name} has no embedding")
        embeddings[str(name)] = np.asarray(embedding, np.float32).reshape(-1)
    if not embeddings:
        raise InputError(f"{file} holds no speakers")
    return embeddings
