"""A config that was resolved before: `--config=experiments/configs/resolved.py:RUN/record.json`, or `asked.json`.

Launchers write what they ran into `record.json` of the workdir (`experiments.run.run_record`); a sweep writes what a
run is to do into `asked.json`. Every key stands for itself there: a change of `seed` changes no other.
"""

import json
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict


def get_config(path: str) -> ConfigDict:
    """The value of "config" in a JSON file; lists become tuples."""
    return ConfigDict(_frozen(json.loads(Path(path).read_text(encoding="utf-8"))["config"]))


def _frozen(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _frozen(value) for key, value in tree.items()}
    return tuple(map(_frozen, tree)) if isinstance(tree, list) else tree
