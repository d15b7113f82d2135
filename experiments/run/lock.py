"""The config that a workdir belongs to: written by the first start, compared with that of every later one."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from etils import epath

from fac_jax.io import write_text
from fac_jax.types import InputError

CONFIG_FILE: Final = "config.json"
# Keys that say how and where a run computes, not what: a workdir may be resumed with others.
FREE: Final = ("mesh", "rules", "attention", "trackers", "stages_dir", "evals")
FREE_LEAVES: Final = ("workers", "threads", "buffer", "cache", "processes", "unroll_layers")
SHOWN: Final = 3  # differing keys that an error names
Resolve: TypeAlias = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def lock_config(workdir: epath.Path, config: Mapping[str, Any], resolve: Resolve = lambda config: config) -> None:
    """Writes `config` to `workdir/config.json`, or checks that it is what stands there, but for how and where it runs.

    `resolve` gives a stored config the keys that did not exist yet when it was stored.

    Raises:
      InputError: another config stands there; names the first keys that differ.
    """
    path = workdir / CONFIG_FILE
    text = json.dumps(config, indent=2) + "\n"
    if not path.exists():
        write_text(path, text)
        return
    found = different(resolve(json.loads(path.read_text())), json.loads(text))
    if found:
        raise InputError(f"{workdir}: holds another config: {found}; take another --workdir")


def different(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """Says by which keys two configs differ, but for how and where they run; "" if by none."""
    binding = ({key: value for key, value in config.items() if key not in FREE} for config in (theirs, ours))
    there, here = (_leaves(json.loads(json.dumps(config))) for config in binding)
    keys = [key for key in there | here if key.rpartition(".")[2] not in FREE_LEAVES]
    wrong = [key for key in keys if there.get(key) != here.get(key)]
    shown = [f"{key} is {there.get(key, 'absent')} there, {here.get(key, 'absent')} here" for key in wrong[:SHOWN]]
    return "; ".join(shown) + (f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else "")


def _leaves(tree: Any, where: str = "") -> dict[str, str]:
    """Returns JSON values by dotted path; an empty container counts as a value."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    flat: dict[str, str] = {}
    for key, value in children:
        flat |= _leaves(value, f"{where}.{key}" if where else str(key))
    return flat or {where: json.dumps(tree)}
