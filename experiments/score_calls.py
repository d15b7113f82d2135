"""Scores a full-duplex model in the twelve scenarios of calls, or recordings of any system by published rules.

    python -m experiments.score_calls scenarios --checkpoint=runs/duplex --calls=runs/duplex/data --out=scores
    python -m experiments.score_calls long --checkpoint=runs/duplex --calls=runs/duplex/data --out=scores
    python -m experiments.score_calls recordings calls.jsonl --out=scores

scenarios     runs every scenario of --calls (docs/duplex.md), beside it a half-duplex model (--half_duplex) behind a
              detector of speech at 300, 500, 700 and 1000 ms of silence, and the first --sweep_rows calls of four
              scenarios, two for each kind, at other settings of eagerness (--start_bias, --stop_bias). Writes
              report.html and report.json.
              A run that was stopped goes on where it was.
long          runs a call of silence, one of noise and one of a user who never stops talking, of --minutes each: what a
              tick takes and the memory, early and late; how often the assistant starts; and whether it did, slot by
              slot, what training reads of the whole call. Writes long.json.
recordings    scores two waves of each line by the rules of Full-Duplex-Bench, NVIDIA or the paper's table 7. Writes
              report.json.
"""

import dataclasses
import json
from pathlib import Path
from typing import Final

import jax
import jax.numpy as jnp
from absl import flags

import fac_jax
from data_pipelines.paths import check_output
from experiments.calls.detectors import DETECTORS
from experiments.calls.long_calls import SOURCES, long_call, users
from experiments.calls.recordings import score_recordings
from experiments.calls.report import EAGERNESS, Settings, write_report
from experiments.calls.scripted import SCENARIOS, read_scenarios
from fac_jax import cli
from fac_jax.api import Model
from fac_jax.checkpoint.opened import open_model
from fac_jax.duplex.call import SLOT
from fac_jax.io import write_text
from fac_jax.progress import bar
from fac_jax.types import InputError

OUT = flags.DEFINE_string("out", None, "Folder that gets the report and the predictions.", required=True)
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "scenarios, long: finished duplex model, stage or workdir.")
HALF_DUPLEX = flags.DEFINE_string("half_duplex", None, "scenarios: finished half-duplex model of the baselines.")
CALLS = flags.DEFINE_string("calls", None, "scenarios, long: folder with a folder of calls for every scenario.")
NAMES = flags.DEFINE_list("scenarios", [*SCENARIOS], "scenarios: which are run.")
ROWS = flags.DEFINE_integer("rows", None, "scenarios: calls of each; all if absent.", 1)
PLACES = flags.DEFINE_integer("places", 50, "scenarios: calls that run side by side.", 1)
START_BIAS = flags.DEFINE_list(
    "start_bias", [f"{one:g}" for one in EAGERNESS], "scenarios: settings in nats; '' for none."
)
STOP_BIAS = flags.DEFINE_list(
    "stop_bias", [f"{one:g}" for one in EAGERNESS], "scenarios: settings in nats; '' for none."
)
MINUTES = flags.DEFINE_float("minutes", 10.0, "long: length of each call.", 0.1, 120.0)
SWEEP_ROWS = flags.DEFINE_integer("sweep_rows", 50, "scenarios: calls of each scenario at every setting.", 1)
VAD = flags.DEFINE_enum("vad", "energy", list(DETECTORS), "Detector of speech.")


def scenarios() -> None:
    """Runs and scores the scenarios."""
    checkpoint, calls = _given()
    out = Path(OUT.value)
    scripted = read_scenarios(Path(calls), NAMES.value, ROWS.value)
    start, stop = _nats("start_bias", START_BIAS.value), _nats("stop_bias", STOP_BIAS.value)
    model = _full_duplex(checkpoint)
    half_duplex = None if HALF_DUPLEX.value is None else fac_jax.load(HALF_DUPLEX.value)
    settings = Settings(PLACES.value, start, stop, SWEEP_ROWS.value, VAD.value)
    write_report(checkpoint, model, half_duplex, Path(calls), scripted, out, settings)


def long() -> None:
    """Runs long calls."""
    checkpoint, calls = _given()
    scripted = read_scenarios(Path(calls), [*SOURCES.values()], ROWS.value)
    waves = users(scripted, DETECTORS[VAD.value], MINUTES.value)
    model, params = _full_duplex(checkpoint), jax.tree.map(jnp.asarray, open_model(checkpoint)[0])
    found = {}
    for name, user in waves.items():
        with bar(f"slots, {name}", len(user) // SLOT - 1) as advance:
            found[name] = long_call(model, params, scripted[0].system, user, advance)
        print(f"{name:12} {found[name]}")
    file = Path(OUT.value) / "long.json"
    write_text(file, json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}, indent=1) + "\n")
    print(file)


def recordings(file: str) -> None:
    """Scores recordings by published rules."""
    check_output("--out", OUT.value)
    for line in score_recordings(Path(file), DETECTORS[VAD.value], VAD.value, Path(OUT.value)):
        print(line)


def _given() -> tuple[str, str]:
    """Returns --checkpoint and --calls, which are there."""
    checkpoint, calls = CHECKPOINT.value, CALLS.value
    if checkpoint is None or calls is None:
        raise InputError(f"--{'checkpoint' if checkpoint is None else 'calls'} is missing")
    check_output("--out", OUT.value)
    return checkpoint, calls


def _full_duplex(checkpoint: str) -> Model:
    model = fac_jax.load(checkpoint)
    if model.config.duplex is None:
        raise InputError(f"--checkpoint={checkpoint} takes turns and was not trained for calls")
    return model


def _nats(name: str, values: list[str]) -> list[float]:
    try:
        return sorted(float(value) for value in values if value)
    except ValueError:
        raise InputError(f"--{name}={','.join(values)}: give numbers, as -1,1") from None


COMMANDS: Final = {"scenarios": scenarios, "long": long, "recordings": recordings}

if __name__ == "__main__":
    cli.run_commands(COMMANDS)
