"""A config that was resolved before: `--config=experiments/configs/resolved.py:RUN/record.json`, or `asked.json`.

Launchers write what they ran into `record.json` of the workdir (`experiments.run.record`); a sweep writes what a run is
to do into `asked.json`.
"""

import json
from pathlib import Path

from ml_collections import ConfigDict

from experiments.configs import base


def get_config(path: str) -> ConfigDict:
    """Returns the config under the key "config" of a JSON file."""
    return base.from_json(json.loads(Path(path).read_text(encoding="utf-8"))["config"])
