"""Plays calls to a server in real time, and finds when the answers are heard at the client.

python -m experiments.score_live --url=ws://127.0.0.1:8000 --calls=runs/duplex/data --rows=20 --out=scores

One call after the other, of one scenario; the detector or the model's own decision, computing and the way of the audio
are all in the latency (docs/duplex.md). Writes live.json. The environment variable FAC_API_KEY holds the server's key,
if it has one. Needs the extra `serve`.
"""

import dataclasses
import json
import os
from pathlib import Path

from absl import flags

from data_pipelines.paths import check_output
from experiments.calls.detectors import DETECTORS
from experiments.calls.live import live_answer
from experiments.calls.scripted import SCENARIOS, read_scenarios
from fac_jax import cli
from fac_jax.audio.mel import RATE
from fac_jax.evaluation.calls.scores import MEDIAN, P90, within
from fac_jax.io import write_text
from fac_jax.progress import bar
from fac_jax.serving.load.live_call import run_live, served_model
from fac_jax.types import InputError

URL = flags.DEFINE_string("url", "ws://127.0.0.1:8000", "A server of experiments.serve.")
CALLS = flags.DEFINE_string("calls", None, "Folder with a folder of calls for every scenario.", required=True)
OUT = flags.DEFINE_string("out", None, "Folder that gets live.json.", required=True)
SCENARIO = flags.DEFINE_enum("scenario", "clean_turn", list(SCENARIOS), "Whose calls are played.")
ROWS = flags.DEFINE_integer("rows", 20, "Calls, from the first on.", 1)
VAD = flags.DEFINE_enum("vad", "energy", list(DETECTORS), "Detector of speech in what is heard.")


def main() -> None:
    """Runs the command."""
    check_output("--out", OUT.value)
    url, key, detector = URL.value, os.environ.get("FAC_API_KEY"), DETECTORS[VAD.value]
    scripted = read_scenarios(Path(CALLS.value), [SCENARIO.value], ROWS.value)
    if not all(one.script.replies for one in scripted):
        raise InputError(f"--scenario={SCENARIO.value}: nobody asks anything there")
    model, found = served_model(url, key), {}
    with bar("seconds", sum(one.script.slots for one in scripted) // 5) as advance:
        for one in scripted:
            user = one.user()
            start, end = one.script.asked(len(one.script.replies) - 1)
            found[one.script.id] = live_answer(run_live(url, key, model, user), detector, start, end)
            advance(len(user) // RATE)
    latencies = [None if one.latency is None else round(one.latency * RATE) for one in found.values()]
    summary = {
        "model": model,
        "scenario": scripted[0].scenario,
        "calls": len(found),
        "early": sum(one.early for one in found.values()),
        "latency_median": within(latencies, MEDIAN),
        "latency_p90": within(latencies, P90),
    }
    file = Path(OUT.value) / "live.json"
    write_text(
        file, json.dumps(summary | {"found": {k: dataclasses.asdict(v) for k, v in found.items()}}, indent=1) + "\n"
    )
    print(json.dumps(summary))


if __name__ == "__main__":
    cli.run(main, interrupted="nothing was written")
