"""What belongs to a model beside its parameters: the tokenizer, the codec, and what the release said of it."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fac_jax.text.tokenizer import CONFIG_FILE
from fac_jax.text.tokenizer import FILE as TOKENIZER
from fac_jax.types import InputError

CODEC: Final = "codec"
RELEASE: Final = "release.json"  # of a model that came from the release: its config.json and its repeated tensors
TOKENIZER_PARTS: Final = (
    *(CONFIG_FILE, "vocab.json", "merges.txt", "added_tokens.json"),
    *("special_tokens_map.json", "chat_template.json", "chat_template.jinja"),
)
SETTINGS: Final = ("generation_config.json", "preprocessor_config.json")


def assets(folder: Path) -> dict[str, Path]:
    """The files and folders of a checkpoint that go wherever its parameters go, by name.

    Raises:
      InputError: the tokenizer's other files are there and `tokenizer.json` is not.
    """
    names = (TOKENIZER, *TOKENIZER_PARTS, *SETTINGS, CODEC)
    found = {name: folder / name for name in names if (folder / name).exists()}
    parts = [name for name in TOKENIZER_PARTS if name in found]
    if parts and TOKENIZER not in found:
        raise InputError(
            f"{folder / TOKENIZER}: no such file, but {parts[0]} is there; make it with "
            "AutoTokenizer.from_pretrained(..).save_pretrained(..) of transformers"
        )
    return found


def trained_assets(folder: Path) -> dict[str, Path]:
    """As `assets`, of a model of ours that is trained further: what the release said of it goes along."""
    release = folder / RELEASE
    return assets(folder) | ({RELEASE: release} if release.exists() else {})


def copy_assets(found: Mapping[str, Path], folder: Path) -> None:
    """Copies files and folders into `folder`, each under its name."""
    for name, source in found.items():
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, folder / name)


def write_json(file: Path, value: Any) -> None:
    """Writes JSON to be read by people too."""
    file.write_text(json.dumps(value, indent=2) + "\n")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON file; {} if there is none."""
    return json.loads(file.read_text()) if file.exists() else {}
