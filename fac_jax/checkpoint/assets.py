"""Files that belong to a model apart from its parameters: tokenizer, codec, and the release's own files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from etils import epath

from fac_jax.io import copy
from fac_jax.models.config import ModelConfig
from fac_jax.text.special_ids import TEXT_SPECIALS
from fac_jax.text.tokenizer import CONFIG_FILE, Tokenizer
from fac_jax.text.tokenizer import FILE as TOKENIZER
from fac_jax.types import InputError

CODEC: Final = "codec"
SPEECH_TOKENIZER: Final = "speech_tokenizer"  # folder in which the release names its speech ids
RELEASE: Final = "release.json"  # of a model that came from the release: its config.json and its repeated tensors
TOKENIZER_PARTS: Final = (
    *(CONFIG_FILE, "vocab.json", "merges.txt", "added_tokens.json"),
    *("special_tokens_map.json", "chat_template.json", "chat_template.jinja"),
)
SETTINGS: Final = ("generation_config.json", "preprocessor_config.json", "processor_config.json")


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


def check_tokenizer(folder: Path, config: ModelConfig) -> None:
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
        raise InputError(f"{folder / TOKENIZER}: not the tokenizer of this model: {'; '.join(other)}")


def trained_assets(folder: epath.PathLike) -> dict[str, epath.Path]:
    """Returns `assets` of a model of ours that is trained further, and the record of its release."""
    release = epath.Path(folder) / RELEASE
    return assets(folder) | ({RELEASE: release} if release.exists() else {})


def copy_assets(found: Mapping[str, epath.PathLike], folder: epath.PathLike) -> None:
    """Copies files and folders into `folder`, each under its name."""
    for name, source in found.items():
        copy(source, epath.Path(folder) / name)
