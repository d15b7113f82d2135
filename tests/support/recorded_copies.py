"""Copies of the recorded checkpoints: whole, in parts, and damaged."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from golden_model import FOLDER, golden
from safetensors.numpy import load_file, save_file

from fac_jax.checkpoint.release.names import Source
from fac_jax.checkpoint.release.tensors import INDEX, SINGLE

Change = Callable[[Path], None]
Refused = Callable[..., str]  # runs a launcher, which must refuse its words, and returns its one line


def write(name: str, content: str | bytes) -> Change:
    """A change that writes a file of a folder."""
    return lambda folder: (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def copy_of(case: str, folder: Path, dtype: str = "float32") -> Path:
    """A recorded checkpoint in a folder of its own."""
    folder.mkdir()
    tensors = {name: tensor.astype(dtype) for name, tensor in golden(case).tensors.items()}
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    shutil.copyfile(FOLDER / case / "config.json", folder / "config.json")
    return folder


def part(folder: Path, source: Source, values: dict, extra: tuple[str, ...] = ()) -> Path:
    """What a source holds of the recorded dense model, under its own names."""
    folder.mkdir()
    own = {source.own_name(name): tensor for name, tensor in golden("dense").tensors.items()}
    tensors = {name: tensor for name, tensor in own.items() if name} | {name: np.zeros(1, np.float32) for name in extra}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(values))
    return folder


def _drop_shard(folder: Path) -> None:
    next(iter(sorted(folder.glob("model-*")))).unlink()


def _truncate(folder: Path) -> None:
    file = sorted(folder.glob("model-*"))[0]
    file.write_bytes(file.read_bytes()[:-8])


def _edit(change: Callable[[dict[str, np.ndarray]], None]) -> Change:
    def edit(folder: Path) -> None:
        tensors = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
        for file in [*folder.glob("*.safetensors"), folder / INDEX]:
            file.unlink()
        change(tensors)
        save_file(tensors, folder / SINGLE)

    return edit


def _write(name: str, text: str) -> Change:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def _duplicate(folder: Path) -> None:
    files = sorted(folder.glob("model-*"))
    save_file({**load_file(files[0]), **dict(list(load_file(files[1]).items())[:1])}, files[0])


NAME = "audio_tower.output_matching.weight"
FAULTS: dict[str, tuple[Change, str]] = {
    "missing shard": (_drop_shard, r"shard model-00001-of-\d+.safetensors is missing"),
    "truncated shard": (_truncate, r"model-00001-of-\d+.safetensors is truncated"),
    "wrong shape": (_edit(lambda t: t.update({NAME: t[NAME][:-1]})), r"is \[63, 64\], by the configuration \[64, 64\]"),
    "unknown name": (_edit(lambda t: t.update(stranger=t[NAME])), "1 problems .*: stranger is unknown"),
    "missing name": (_edit(lambda t: t.pop(NAME)), f"{NAME} is missing"),
    "duplicate": (_duplicate, "stands twice"),
    "wrong dtype": (_edit(lambda t: t.update({NAME: t[NAME].astype(np.int32)})), f"{NAME} is I32, which is none of"),
    "two dtypes": (_edit(lambda t: t.update({NAME: t[NAME].astype(np.float16)})), "tensors of different dtypes"),
    "tied and different": (
        _edit(lambda t: t.update({"audio_invert_tower.lm_head.weight": t["audio_tower.embed_tokens.weight"] + 1})),
        "differs from audio_tower.embed_tokens.weight, to which it is tied",
    ),
    "absent tokenizer": (_write("vocab.json", "{}"), "tokenizer.json: no such file"),
    "bad config": (_write("config.json", "{"), "config.json: not JSON"),
    "config without key": (_write("config.json", "{}"), "key 'text_config' is missing"),
}
