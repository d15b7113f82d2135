"""Finished models on disk: parameters, configuration and the files that belong to them (tokenizer, codec).

MODEL/config.json    model configuration
MODEL/origin.json    stage that made it, its number in the recipe, its steps
MODEL/params/        parameters, orbax
MODEL/...            assets by name
"""

import atexit
import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jax
import orbax.checkpoint as ocp
from etils import epath
from flax import traverse_util

from fac_jax.checkpoint.adapters.base import base_digest
from fac_jax.checkpoint.arrays import readable
from fac_jax.checkpoint.json_files import Section, read_json, write_json
from fac_jax.checkpoint.release.tensors import INDEX
from fac_jax.checkpoint.store import AdapterBase, adapter_base, check_shapes, parameter_folders, stored
from fac_jax.config import from_tree
from fac_jax.io import absolute, copy, is_local
from fac_jax.models.config import ModelConfig
from fac_jax.models.limits import check
from fac_jax.models.lora import merge
from fac_jax.text.special_ids import TEXT_SPECIALS
from fac_jax.text.tokenizer import CONFIG_FILE, Tokenizer
from fac_jax.text.tokenizer import FILE as TOKENIZER
from fac_jax.types import InputError, Params

MODEL = "model"  # finished model of a stage directory
CHECKPOINTS = "checkpoints"  # running checkpoints of a stage directory
CODEC: Final = "codec"
SPEECH_TOKENIZER: Final = "speech_tokenizer"  # folder in which the release names its speech ids
RELEASE: Final = "release.json"  # of a model that came from the release: its config.json and its repeated tensors
TOKENIZER_PARTS: Final = (
    *(CONFIG_FILE, "vocab.json", "merges.txt", "added_tokens.json"),
    *("special_tokens_map.json", "chat_template.json", "chat_template.jinja"),
)
SETTINGS: Final = ("generation_config.json", "preprocessor_config.json", "processor_config.json")


def export_model(
    directory: epath.PathLike,
    params: Params,
    config: ModelConfig,
    origin: dict[str, Any],
    assets: Mapping[str, epath.PathLike],
) -> None:
    """Writes a finished model, which is whole as soon as `is_model` finds it.

    On a local disk it is written next to `directory`, which must not exist, and renamed. A cloud store cannot rename
    folders: there it is written in place, over what an earlier start left, its two small files last.

    Args:
      origin: what made them; `{"stage": name, "order": its number in the recipe, "steps": ..}`.
      assets: files and folders to copy in, by the name they get.
    """
    directory = absolute(directory)
    unfinished = directory.with_name(directory.name + ".unfinished") if is_local(directory) else directory
    first = jax.process_index() == 0  # of several hosts the first writes all but its share of the parameters
    if first:
        if unfinished.exists():
            unfinished.rmtree()
        unfinished.mkdir(parents=True)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(unfinished / "params", params)
    if first:
        finish(unfinished, config, origin, assets)
        if unfinished != directory:
            unfinished.rename(directory)


def finish(
    folder: epath.PathLike, config: ModelConfig, origin: dict[str, Any], assets: Mapping[str, epath.PathLike]
) -> None:
    """Writes the files of a model folder other than its parameters."""
    copy_assets(assets, folder)
    write_json(epath.Path(folder) / "config.json", dataclasses.asdict(config))
    write_json(epath.Path(folder) / "origin.json", origin)


def is_model(folder: epath.PathLike) -> bool:
    """Returns whether a folder holds a finished model: its two small files, which are written last."""
    return all((epath.Path(folder) / name).exists() for name in ("config.json", "origin.json"))


def resolve(path: epath.PathLike) -> epath.Path:
    """Folder whose `params/` and config a path names.

    A path names a finished model; a stage directory (its model, else its newest checkpoint); a single checkpoint; or a
    workdir (the model of its last finished stage).

    Raises:
      InputError: nothing is there.
    """
    path = epath.Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such checkpoint folder")
    if (path / "params").is_dir():
        return path
    if is_model(path / MODEL):
        return path / MODEL
    if (path / CHECKPOINTS).is_dir():
        steps = [int(p.name) for p in (path / CHECKPOINTS).iterdir() if p.name.isdigit() and (p / "params").is_dir()]
        if steps:
            return path / CHECKPOINTS / str(max(steps))
    models = [p.parent for p in path.glob(f"*/{MODEL}/origin.json") if is_model(p.parent)]
    if not models and (next(path.glob("*.safetensors"), None) or (path / INDEX).exists()):
        raise InputError(f"{path}: a checkpoint in the release's layout: run experiments.convert hf-to-jax {path} DST")
    if not models:
        raise InputError(f"{path}: holds no finished stage and no checkpoint")
    return max(models, key=lambda model: Section(read_json(model / "origin.json"), str(model)).number("order"))


def load_params(path: epath.PathLike, expected: Params | None = None) -> tuple[Params, ModelConfig]:
    """Parameters and configuration of what `path` names (see `resolve`); an adapter is merged into its base.

    Args:
      expected: tree of the parameters of a model (abstract or real), compared with those found. Leaves that have
        a sharding are read into it, all others go to the default device.

    Raises:
      InputError: nothing is there, a file is damaged, or the parameters have other names or shapes than `expected`;
        or an adapter has no base any more.
    """
    found = resolve(path)
    base = adapter_base(found)
    if base is not None:
        return _with_base(found, base, expected)
    return _restored(found, expected)


def _with_base(found: epath.Path, base: AdapterBase, expected: Params | None) -> tuple[Params, ModelConfig]:
    """Reads the adapter of a running checkpoint, and merges it into its base."""
    if base.folder is None:
        raise InputError(f"{found}: holds an adapter of a model that was not written: go on to the end of its stage")
    folder = found.parents[2] / base.folder  # WORKDIR/STAGE/checkpoints/STEP
    adapter, config = _restored(found)
    params, _ = load_params(folder, expected)
    params = jax.tree.map(lambda leaf: leaf.astype(config.param_dtype), params)
    digest = base_digest(params, config)
    if digest != base.digest:
        raise InputError(f"{found}: an adapter of a model with the digest {base.digest}, but {folder} has {digest}")
    whole = traverse_util.flatten_dict(params) | traverse_util.flatten_dict(adapter)
    return merge(traverse_util.unflatten_dict(whole)), config


def _restored(found: epath.Path, expected: Params | None = None) -> tuple[Params, ModelConfig]:
    folders, config = parameter_folders(found), load_config(found)
    holds: list[dict[Any, Any]] = []
    for folder in folders:
        with readable(folder):
            holds.append(traverse_util.flatten_dict(stored(folder)))
    if expected is not None:
        leaves = {path: leaf for there in holds for path, leaf in there.items()}
        check_shapes(traverse_util.unflatten_dict(leaves), expected, found)
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    lies = {path: getattr(leaf, "sharding", None) for path, leaf in traverse_util.flatten_dict(expected or {}).items()}
    params = {}
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        for folder, there in zip(folders, holds, strict=True):
            target = {
                path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=lies.get(path) or device)
                for path, leaf in there.items()
            }
            args = ocp.args.StandardRestore(traverse_util.unflatten_dict(target))
            with readable(folder):
                params |= traverse_util.flatten_dict(checkpointer.restore(absolute(folder), args=args))
    return traverse_util.unflatten_dict(params), config


def load_config(path: epath.PathLike) -> ModelConfig:
    """Configuration of the model that `path` names (see `resolve`).

    Raises:
      InputError: nothing is there, or the file is damaged.
    """
    found = resolve(path)
    file = found / "config.json"
    if not file.exists():
        file = found / "config" / "metadata"
    values = read_json(file)
    try:
        config = from_tree(ModelConfig, values)
        check(config)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from error
    return config


def assets(folder: epath.PathLike) -> dict[str, epath.Path]:
    """Returns the files and folders of a checkpoint that are copied together with its parameters, by name.

    Raises:
      InputError: the tokenizer's other files are there and `tokenizer.json` is not.
    """
    folder = epath.Path(folder)
    names = (TOKENIZER, *TOKENIZER_PARTS, *SETTINGS, SPEECH_TOKENIZER, CODEC)
    found = {name: folder / name for name in names if (folder / name).exists()}
    parts = [name for name in TOKENIZER_PARTS if name in found]
    if parts and TOKENIZER not in found:
        raise InputError(
            f"{folder / TOKENIZER}: no such file, but {parts[0]} is there; make it with "
            "AutoTokenizer.from_pretrained(..).save_pretrained(..) of transformers"
        )
    return found


def local_assets(folder: epath.Path) -> Path:
    """Returns a folder on a disk with the `assets` of a model: a temporary copy for a model in a cloud store."""
    if is_local(folder):
        return Path(folder)
    here = Path(tempfile.mkdtemp(prefix="fac_jax_"))
    atexit.register(shutil.rmtree, here, ignore_errors=True)
    copy_assets(assets(folder), here)
    return here


def check_tokenizer(folder: epath.PathLike, config: ModelConfig) -> None:
    """Compares the tokenizer of a checkpoint with its model.

    Special tokens that it does not have under our names are not compared: a checkpoint may name them differently.

    Raises:
      InputError: it is damaged, gives a special token another id, or has ids beyond the model's vocabulary.
    """
    tokenizer = Tokenizer.load(folder)
    other = [
        f"{TEXT_SPECIALS[field]} is {found}, in the model {getattr(config.special, field)}"
        for field, found in tokenizer.known_specials().items()
        if found != getattr(config.special, field)
    ]
    if tokenizer.vocab_size > config.vocab_size:
        other.append(f"it has ids up to {tokenizer.vocab_size - 1}, the model {config.vocab_size} rows")
    if other:
        raise InputError(f"{epath.Path(folder) / TOKENIZER}: not the tokenizer of this model: {'; '.join(other)}")


def trained_assets(folder: epath.PathLike) -> dict[str, epath.Path]:
    """Returns `assets` of a model of ours that is trained further, and the record of its release."""
    release = epath.Path(folder) / RELEASE
    return assets(folder) | ({RELEASE: release} if release.exists() else {})


def copy_assets(found: Mapping[str, epath.PathLike], folder: epath.PathLike) -> None:
    """Copies files and folders into `folder`, each under its name."""
    for name, source in found.items():
        copy(source, epath.Path(folder) / name)
