"""Lists what a checkpoint holds and the parameter that each tensor fills; reads only headers and refuses nothing."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import jax.numpy as jnp
import numpy as np

from fac_jax.checkpoint.export import load_config, resolve
from fac_jax.checkpoint.json_files import Section, read_json
from fac_jax.checkpoint.release.config import decoder_config, encoder_config, release_config
from fac_jax.checkpoint.release.names import RELEASE, TEXT_SOURCES, WHISPER, Source, release_entries, tied_heads
from fac_jax.checkpoint.release.params import param_shapes, place
from fac_jax.checkpoint.release.tensors import TensorFolder
from fac_jax.models.config import ModelConfig
from fac_jax.models.presets import preset

UNMAPPED: Final = "NOTHING: "
ABSENT: Final = "absent"


@dataclasses.dataclass(frozen=True)
class Row:
    """One tensor, or one parameter of ours.

    Attributes:
      name: its name.
      shape: its shape; of one that is absent, what the configuration says.
      dtype: as numpy names it; "absent" for one that should be there and is not.
      target: where it goes; UNMAPPED and the reason where it goes nowhere and should.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    target: str

    @property
    def bytes(self) -> int:
        """Its size."""
        return 0 if self.dtype == ABSENT else math.prod(self.shape) * jnp.dtype(self.dtype).itemsize

    @property
    def maps(self) -> bool:
        """Whether it is as it should be."""
        return not self.target.startswith(UNMAPPED)


def survey_tensors(folder: Path) -> Iterator[Row]:
    """The tensors of a released checkpoint, or of one that it is assembled from (Qwen3, Qwen3-VL, Whisper).

    Raises:
      InputError: config.json or the safetensors are missing or damaged.
    """
    file = folder / "config.json"
    source, config = _known(read_json(file), str(file))
    tensors = TensorFolder(folder)
    entries, problems = place(tensors.shapes, source, config)
    tied = [(source.own_name(name), source.own_name(read)) for name, read in tied_heads(config)]
    where = {name: f"as {read}, to which it is tied" for name, read in tied}
    for entry in entries:
        for index in np.ndindex(entry.names.shape):
            at = "".join(f"[{i}]" for i in index)
            where[str(entry.names[index])] = f"{'.'.join(entry.path)}{at} ({entry.layout})"
    for name in tensors:
        target = UNMAPPED + problems[name] if name in problems else where.get(name, "not used")
        yield Row(name, tensors.shapes[name], tensors.dtypes[name], target)
    for name in sorted(problems.keys() - tensors.shapes.keys()):
        yield Row(name, (), ABSENT, UNMAPPED + problems[name])


def survey_params(path: Path) -> Iterator[Row]:
    """The parameters of a model of ours (`export.resolve`).

    Raises:
      InputError: nothing is there.
    """
    config = load_config(resolve(path))
    shapes = param_shapes(config)
    for entry in release_entries(config):
        names = entry.names.ravel().tolist()
        more = f" .. {names[-1]} ({len(names)} tensors)" if len(names) > 1 else ""
        yield Row(".".join(entry.path), shapes.pop(entry.path), config.param_dtype, names[0] + more)
    for name, shape in shapes.items():
        why = "has no calls" if name[0] == "beside" else "computes it"
        yield Row(".".join(name), shape, config.param_dtype, f"none: the released layout {why}")


def _known(values: Mapping[str, Any], where: str) -> tuple[Source, ModelConfig]:
    """Layout of a checkpoint by its config.json; what is no part of it has the sizes of a preset."""
    whole = Section(values, where)
    kind = whole.word("model_type", "")
    if kind == "whisper":
        return WHISPER, dataclasses.replace(preset("tiny"), audio=encoder_config(whole))
    if kind not in TEXT_SOURCES:
        return RELEASE, release_config(dict(values), where)
    text = whole.section("text_config") if "text_config" in values else whole
    return TEXT_SOURCES[kind], dataclasses.replace(
        preset("tiny"),
        text=decoder_config(text),
        vocab_size=text.size("vocab_size"),
        tie_embeddings=whole.flag("tie_word_embeddings", text.flag("tie_word_embeddings", False)),
    )
