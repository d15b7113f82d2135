"""Checkpoints between the release's layout and ours, and two of ours mixed into one, tensor by tensor.

No model is ever whole in memory. Everything is written into `DESTINATION.unfinished` and renamed at the end, so a
folder that exists is whole. A conversion that was interrupted resumes there; one that fails removes it.
"""

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import jax.numpy as jnp
import numpy as np
from etils import epath

from fac_jax.checkpoint import export
from fac_jax.checkpoint.arrays import Spec, StoredArray, create_params
from fac_jax.checkpoint.json_files import Section, read_json, write_json
from fac_jax.checkpoint.release.config import load_release_config
from fac_jax.checkpoint.release.names import RELEASE, Entry, Source, relaid, release_entries, tied_heads
from fac_jax.checkpoint.release.params import Read, check_tied, match, one_dtype, param_shapes, pieces, torch_shape
from fac_jax.checkpoint.release.parts import PARTS
from fac_jax.checkpoint.release.tensors import SHARD_BYTES, TensorFolder, write_tensors
from fac_jax.checkpoint.store import folder_of
from fac_jax.models.config import ModelConfig, replace
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

T = TypeVar("T")
Wrap = Callable[[Iterable[T]], Iterable[T]]
Mix = Callable[[str, np.ndarray, np.ndarray], np.ndarray]

FLOATS: Final = ("bfloat16", "float16", "float32")
NOTE: Final = "job.json"  # in a folder that is being made: what it will be


def import_release(source: Path, destination: Path, wrap: Wrap = iter) -> ModelConfig:
    """Converts a released checkpoint (safetensors, config.json, tokenizer files) into a model folder of ours.

    Returns the configuration of the model, whose dtype is that of the tensors.

    Args:
      source: folder of the release's layout; one without any tokenizer makes a model without.
      destination: must not exist; a folder as `export.export_model` writes it.
      wrap: of the tensors while they are copied, for a progress bar.

    Raises:
      InputError: a file is missing or damaged, the tensors are not those of config.json, or the disk is full.
    """
    with at_destination(destination, {"import": fingerprint(source)}) as unfinished:
        config = load_release_config(source)
        tensors = TensorFolder(source)
        dtype = one_dtype(tensors, RELEASE)
        config = replace(config, dtype=dtype, param_dtype=dtype)
        entries = match(tensors.shapes, RELEASE, config)
        check_tied(tensors, RELEASE, config)
        carried = export.assets(source)
        if export.TOKENIZER in carried:
            export.check_tokenizer(source, config)
        fill_params(unfinished, config, [(entry, tensors.__getitem__) for entry in entries], wrap)
        tied = [name for name, _ in tied_heads(config) if name in tensors]
        write_json(unfinished / export.RELEASE, {"config": read_json(source / "config.json"), "tied_names": tied})
        export.finish(unfinished, config, {"from": "released checkpoint", "order": 0}, carried)
    return config


def export_release(
    source: Path,
    destination: Path,
    dtype: str = "bfloat16",
    shard_bytes: int = SHARD_BYTES,
    wrap: Wrap = iter,
    part: str = "all",
    half_duplex: bool = False,
) -> None:
    """Converts a model of ours (a folder, stage or workdir, `export.resolve`) into a published layout.

    Args:
      destination: must not exist.
      dtype: of the tensors written.
      shard_bytes: most bytes of a shard.
      wrap: of the tensors' names while they are written, for a progress bar.
      part: key of `parts.PARTS`: the whole in the release's layout, or a part that transformers loads.
      half_duplex: whether a duplex model is written without its kernel `beside`, for which the release has no place.

    Raises:
      InputError: there is no model, the release has no such model, or the disk is full.
    """
    folder, chosen = Path(export.resolve(source)), PARTS[part]
    job = {"export": fingerprint(folder), "dtype": dtype, "part": part, "shard_bytes": shard_bytes}
    with at_destination(destination, job) as unfinished:
        config = replace(export.load_config(folder), dtype=dtype, param_dtype=dtype)
        if config.duplex is not None and part == "all" and not half_duplex:
            raise InputError(
                f"{folder}: a duplex model; the release has no place for its kernel `beside`, without which it cannot "
                "listen while it talks: --half_duplex leaves it out"
            )
        base, tied_names = _release_of(folder)
        values = chosen.config(config, base)
        carried = {name: file for name, file in export.assets(folder).items() if chosen.carries(name)}
        files: Mapping[str, str] = {}
        if export.TOKENIZER in carried and not (folder / export.RELEASE).exists():
            export.check_tokenizer(folder, config)
            files = chosen.files(config, Tokenizer.load(folder))
        places = _places(config, chosen.layout, tied_names)
        shapes, computed = param_shapes(config), chosen.computed(config)
        arrays: dict[tuple[str, ...], StoredArray] = {}

        def read(name: str) -> np.ndarray:
            if name in computed:
                return computed[name].astype(jnp.dtype(dtype))
            entry, index = places[name]
            if entry.path not in arrays:
                arrays[entry.path] = StoredArray(Path(folder_of(folder, entry.path)), entry.path)
            return relaid(arrays[entry.path].read(index), entry.layout).astype(jnp.dtype(dtype), copy=False)

        sizes = {name: math.prod(torch_shape(entry, shapes[entry.path])) for name, (entry, _) in places.items()}
        sizes |= {name: value.size for name, value in computed.items()}
        byte_sizes = {name: count * jnp.dtype(dtype).itemsize for name, count in sizes.items()}
        write_tensors(unfinished, byte_sizes, read, shard_bytes, wrap)
        write_json(unfinished / "config.json", values)
        export.copy_assets(carried, unfinished)
        for name, content in files.items():
            (unfinished / name).parent.mkdir(exist_ok=True)
            (unfinished / name).write_text(content, encoding="utf-8")


def _release_of(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """config.json of the release that a model came from and the names of its repeated tensors; empty without one."""
    file = folder / export.RELEASE
    if not file.exists():
        return {}, []
    whole = Section(read_json(file), str(file))
    base = whole.section("config")
    for part in ("text_config", "audio_config"):
        base.section(part, {})
    base.section("audio_config", {}).section("crq_transformer_config", {})
    return dict(base.values), list(whole.words("tied_names"))


def _places(config: ModelConfig, layout: Source, tied_names: Iterable[str]) -> dict[str, tuple[Entry, tuple[int, ...]]]:
    """Where every tensor of a layout lies in our parameters, in the order of writing."""
    places = {
        str(entry.names[index]): (entry, index)
        for entry in release_entries(config)
        for index in np.ndindex(entry.names.shape)
    }
    originals = dict(tied_heads(config))
    places |= {name: places[originals[name]] for name in tied_names if name in originals}
    named = {layout.own_name(name): place for name, place in places.items()}
    return {name: place for name, place in named.items() if name is not None}


def combine_models(
    first: epath.PathLike,
    second: epath.PathLike,
    destination: Path,
    mix: Mix,
    origin: dict[str, Any],
    wrap: Wrap = iter,
) -> None:
    """Writes a model folder whose every parameter is made from those of two others, which have the same shapes.

    Configuration, tokenizer, codec and dtype are those of `first`; `export.resolve` finds both.

    Args:
      destination: must not exist.
      mix: gives a piece of a parameter from its path ("backbone/decoder/norm/scale") and both models' pieces.
      origin: what made it; two different mixes of the same models have different origins.
      wrap: of the pieces while they are written, for a progress bar.

    Raises:
      InputError: a model is missing, or the disk is full.
    """
    folders = [export.resolve(first), export.resolve(second)]
    config = export.load_config(folders[0])
    job = {"combine": [fingerprint(Path(folder)) for folder in folders], "origin": origin}
    with at_destination(destination, job) as unfinished:
        known = {entry.path: entry for entry in release_entries(config)}
        own = [known.get(path, Entry(path, np.array(""), "same")) for path in param_shapes(config)]
        fill_params(unfinished, config, [_combined(entry, folders, mix) for entry in own], wrap)
        export.finish(unfinished, config, origin, export.trained_assets(folders[0]))


def _combined(entry: Entry, folders: list[epath.Path], mix: Mix) -> tuple[Entry, Read]:
    """Returns a parameter whose pieces are named by their places ("3", "3 1"), and what mixes the pieces of a place."""
    stored = [StoredArray(Path(folder_of(folder, entry.path)), entry.path) for folder in folders]

    def read(place: str) -> np.ndarray:
        first, second = (array.read(tuple(map(int, place.split()))) for array in stored)
        return mix("/".join(entry.path), first, second)

    places = [" ".join(map(str, index)) for index in np.ndindex(entry.names.shape)]
    return Entry(entry.path, np.array(places).reshape(entry.names.shape), "same"), read


def fill_params(unfinished: Path, config: ModelConfig, entries: Iterable[tuple[Entry, Read]], wrap: Wrap) -> None:
    """Writes `unfinished/params` from the tensors of entries; parameters that are already written are skipped.

    Every parameter is given once, with what reads its tensors. `config.param_dtype` is stored, and `unfinished/filled`
    lists what is written. `wrap` is of the tensors' names while they are copied.
    """
    shapes, dtype = param_shapes(config), config.param_dtype
    entries = list(entries)
    params, filled = unfinished / "params", unfinished / "filled"
    if not params.exists():
        for rest in unfinished.glob(f"{params.name}.*"):
            shutil.rmtree(rest)  # what orbax left when it was interrupted
        create_params(params, {e.path: Spec(shapes[e.path], dtype, e.names.ndim) for e, _ in entries})
    done = set(filled.read_text().split()) if filled.exists() else set()

    def work() -> Iterator[tuple[StoredArray, tuple[int, ...], np.ndarray]]:
        for entry, read in entries:
            path = ".".join(entry.path)
            if path in done:
                continue
            array = StoredArray(params, entry.path)
            for index, piece in pieces(entry, read):
                yield array, index, piece
            with filled.open("a") as log:
                log.write(path + "\n")

    count = sum(entry.names.size for entry, _ in entries if ".".join(entry.path) not in done)
    for _, (array, index, piece) in zip(wrap(range(count)), work(), strict=False):
        array.write(index, piece.astype(jnp.dtype(dtype), copy=False))
    filled.unlink(missing_ok=True)


@contextlib.contextmanager
def at_destination(destination: Path, job: dict[str, Any]) -> Iterator[Path]:
    """Gives a folder to work in, which becomes `destination` at the end.

    An interrupted conversion resumes if it was the same `job`. A conversion that fails removes its folder.

    Raises:
      InputError: the destination exists, cannot be written or is on a full disk; or a folder that is not ours stands
        where the conversion would work.
    """
    if destination.exists():
        raise InputError(f"{destination}: exists already; remove it or give another folder")
    if not destination.absolute().parent.is_dir():
        raise InputError(f"{destination}: {destination.absolute().parent} is no folder")
    unfinished = destination.with_name(destination.name + ".unfinished")
    note = unfinished / NOTE
    is_empty = unfinished.is_dir() and not any(unfinished.iterdir())
    if os.path.lexists(unfinished) and not note.is_file() and not is_empty:
        raise InputError(
            f"{unfinished}: is no unfinished conversion (it has no {NOTE}); move it away or give another DST"
        )
    try:
        noted = None
        with contextlib.suppress(InputError):  # a note that is absent or not whole
            noted = read_json(note)
        if noted != job:
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            write_json(note, job)
        yield unfinished
        os.replace(unfinished, destination)
        (destination / NOTE).unlink()
    except Exception as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        # tensorstore and safetensors only say in words that the disk or the user's share of it is full.
        numbers = (errno.ENOSPC, errno.EDQUOT)
        if getattr(error, "errno", None) in numbers or any(os.strerror(n) in str(error) for n in numbers):
            raise InputError(f"{destination}: the disk is full; free some space and run the command again") from error
        if isinstance(error, OSError):
            raise InputError(f"{destination}: cannot be made: {error}") from error
        raise


def fingerprint(folder: Path) -> dict[str, Any]:
    """Names, sizes and times of the files that a conversion reads, a folder's or one; a link to nowhere is none."""
    kinds = ("*.safetensors", "*.json", "*.jinja", "*.bin", f"{export.SPEECH_TOKENIZER}/*", "params/**/*")
    files = [folder] if folder.is_file() else [file for kind in kinds for file in folder.glob(kind) if file.is_file()]
    stats = [(str(file.relative_to(folder)), file.stat()) for file in sorted(files)]
    return {"folder": str(folder.absolute()), "files": [[name, s.st_size, s.st_mtime] for name, s in stats]}
