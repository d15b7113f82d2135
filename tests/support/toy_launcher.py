"""A launcher that only counts: `python -m toy_launcher`, with the options of the real ones and no model.

It adds a line to `steps.txt` for each step, goes on after the last, and writes a record at its end.
"""

import json
import os
import sys
import time
from pathlib import Path

from absl import app, flags

CONFIG = flags.DEFINE_string("config", None, "FILE.py:ASKED.json, as sweeps write it.")
WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets.")
PAUSE = flags.DEFINE_float("pause", 0.0, "Seconds of a step.")
STEPS = 6


def main(_: list[str]) -> None:
    asked = json.loads(Path(CONFIG.value.split(":")[1]).read_text())
    model, seed = asked["config"]["model"], asked["config"]["seed"]
    if model.get("group_size") == 7:
        print("error: seven is refused", file=sys.stderr)
        sys.exit(2)
    workdir = Path(WORKDIR.value)
    (workdir / "pid").write_text(str(os.getpid()))
    with (workdir / "steps.txt").open("a+") as file:
        file.seek(0)
        for step in range(len(file.readlines()), STEPS):
            time.sleep(PAUSE.value)
            file.write(f"{step} {model.get('group_size')} {model.get('grouping')} {seed}\n")
            file.flush()
            if model.get("grouping") == "crash":
                sys.exit(1)
    metrics = {"size": model.get("group_size"), "seed": seed}
    record = {"finished": time.time(), "config": asked["config"], "data": "none", "metrics": metrics}
    (workdir / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    app.run(main)
