"""The wrapper of every launcher (`fac_jax.launch`), and its flag that names a config file."""

from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from fac_jax.launch import BAD_INPUT, INTERRUPTED, run, run_commands
from fac_jax.types import InputError

__all__ = ["BAD_INPUT", "INTERRUPTED", "config", "run", "run_commands"]


def config(flag: flags.FlagHolder[ConfigDict]) -> ConfigDict:
    """Value of a `DEFINE_config_file` flag.

    Raises:
      InputError: there is no such file.
    """
    file = config_flags.get_config_filename(flags.FLAGS[flag.name])
    if not Path(file.split(":")[0]).is_file():
        raise InputError(f"--{flag.name}={file}: no such file")
    return flag.value
