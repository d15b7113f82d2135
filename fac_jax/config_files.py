"""Config files on the command line: found by path or by name, loaded, and their unknown keys explained."""

import difflib
import importlib.util
import re
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from absl import flags
from ml_collections import ConfigDict

from fac_jax.config import known_keys
from fac_jax.types import InputError

MODULE = "config_file"  # name under which a config file is imported


def find(name: str, shipped: Path) -> Path:
    """Finds a config file.

    Args:
      name: path of a file; or the name of a shipped one, without `.py`, with or without its folder (`group_size`,
        `ablations/group_size`). A path that exists comes first.
      shipped: folder of the shipped configs.

    Raises:
      InputError: there is neither such a file nor such a name; lists the names.
    """
    if Path(name).is_file():
        return Path(name)
    files = {file.relative_to(shipped).with_suffix("").as_posix(): file for file in sorted(shipped.rglob("*.py"))}
    names = {key: file for key, file in files.items() if "def get_config(" in file.read_text(encoding="utf-8")}
    for key, file in names.items():
        if name in (key, Path(key).name):
            return file
    raise InputError(f"no such file, and no shipped config has this name; names: {', '.join(names) or 'none'}")


def load(file: Path, argument: str | None = None) -> ConfigDict:
    """Runs a config file and returns the locked result of its `get_config`, which gets `argument` if it is not None.

    Raises:
      InputError: there is no `get_config`, or the file fails; names the line that failed.
    """
    try:
        module = _import(file)
    except Exception as error:
        raise _failed(file, error) from error
    if not hasattr(module, "get_config"):
        raise InputError(f"{file} is no config: it defines no get_config()")
    try:
        config = module.get_config(*([] if argument is None else [argument]))
    except InputError:
        raise
    except Exception as error:
        raise _failed(file, error) from error
    if not isinstance(config, ConfigDict):
        raise InputError(f"{file}: get_config() returns {type(config).__name__}, not a ConfigDict")
    config.lock()
    return config


def _import(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(MODULE, file)
    if spec is None or spec.loader is None:
        raise InputError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module  # dataclasses of the file look their module up there
    spec.loader.exec_module(module)
    return module


def _failed(file: Path, error: Exception) -> InputError:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
    line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
    place = f"{file}, line {line}" if line else str(file)
    return InputError(f"{place}: {type(error).__name__}: {error}")


class Parser(flags.ArgumentParser):
    """Parser of a `DEFINE_config_file` flag that also takes names of shipped configs.

    Attributes:
      config: what was parsed last; None before.
    """

    def __init__(self, shipped: Path) -> None:
        self._shipped = shipped
        self.config: ConfigDict | None = None

    def parse(self, argument: str) -> ConfigDict:
        """Returns the config of `NAME`, `PATH`, `NAME:ARGUMENT` or `PATH:ARGUMENT`."""
        name, colon, given = argument.partition(":")
        self.config = load(find(name, self._shipped), given if colon else None)
        return self.config

    def flag_type(self) -> str:
        """Returns what absl's help calls the type of the flag."""
        return "config object"


def unknown_key(config: ConfigDict, flag: str, argv: Sequence[str]) -> str | None:
    """Describes the first option of a command line that sets a key which the config of a flag lacks.

    Returns:
      one line with the option and the nearest known one; None if every key is known.
    """
    known = list(known_keys(config))
    for word in argv:
        found = re.match(rf"-{{1,2}}(?:no)?{flag}\.([^=]+)", word)
        name = re.sub(r"\[[^\]]*\]", "", found[1]) if found else None
        if name and name not in known:
            near = nearest(name, known)
            return f"unknown config key --{flag}.{name}" + (f"; did you mean --{flag}.{near}?" if near else "")
    return None


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Returns the known dotted name that a wrong one most likely means; None if none resembles it.

    A sibling that resembles it comes first, then a key of the same last name elsewhere, then any that resembles it.
    """
    parent, _, last = name.rpartition(".")
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    close = difflib.get_close_matches(last, siblings, n=1)
    if close:
        return siblings[close[0]]
    same = [key for key in known if key.rpartition(".")[2] == last] or known
    return next(iter(difflib.get_close_matches(name, same, n=1, cutoff=0.0 if same is not known else 0.6)), None)
