"""Asks a model of the toy world its held-out questions through a microphone, and by voices of other synthesizers.

python -m experiments.robustness --workdir runs/quickstart [--most 100]

Other voices are those of flite and festival, and a person's recorded words, where these are installed (Debian: flite,
festival, and asterisk-core-sounds-en-g722 with ffmpeg). For every condition it prints the share of spoken replies whose
text is right, with its 95 % interval, and writes `robustness.json` into the workdir.
"""

import dataclasses
import json
import sys
from typing import Final

from absl import flags

from data_pipelines.worlds.listeners import VOICES
from experiments.run.setup import finished_run, open_workdir
from experiments.toy.questions import world_rows
from experiments.toy.robustness import CONDITIONS, evenly, robustness
from fac_jax import cli
from fac_jax.evaluation.reports.report import Condition
from fac_jax.io import write_text

HARDER: Final = ("0.5 s of silence on both sides", "20 dB softer", "white noise at 20 dB")  # of the first voice

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets; WORKDIR/data if it exists, else runs/data.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model, stage or checkpoint; the run's last model if absent.")
MOST = flags.DEFINE_integer("most", 100, "Questions of a condition.", 1)


def main() -> None:
    """Runs the command."""
    workdir = open_workdir(WORKDIR.value)
    run, params = finished_run(workdir, DATA_DIR.value, CHECKPOINT.value)
    rows = evenly(world_rows(run, "test"), MOST.value)
    found, _ = robustness(params, run, rows)
    different = {row.question: row for row in world_rows(run, "test")}
    for voice in VOICES:
        if not voice.installed:
            print(f"left out: {voice.name}, which is not installed", file=sys.stderr)
            continue
        questions = evenly(list(different.values()), MOST.value)
        spoken = voice.speak_all([row.question for row in questions])
        by_sound = {wave.tobytes(): (row, wave) for row, wave in zip(questions, spoken, strict=True)}
        asked = [dataclasses.replace(row, user_audio=wave) for row, wave in by_sound.values()]
        wanted = ("clean", *(HARDER if voice is VOICES[0] else ()))
        heard, _ = robustness(params, run, asked, {name: CONDITIONS[name] for name in wanted})
        names = {name: voice.name if name == "clean" else f"{voice.name}, {name}" for name in wanted}
        found += [Condition(names[one.name], one.right, one.questions) for one in heard]
    for one in found:
        print(f"{one.name:44s} {one.share:.3f}  [{one.interval[0]:.3f}, {one.interval[1]:.3f}]")
    shares = {one.name: {"right": one.right, "questions": one.questions, "share": one.share} for one in found}
    write_text(workdir / "robustness.json", json.dumps(shares, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main)
