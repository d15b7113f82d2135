"""Lets an open recogniser write down what a model of the toy world says, beside right replies through its codec.

python -m experiments.listen --workdir runs/quickstart [--recogniser whisper-tiny.en] [--mos] [--most 100]

The recogniser is a model for faster-whisper: a folder, a name that faster-whisper knows, or whisper-tiny.en, that of
the extra `ears`. With --mos, DNSMOS (speechmos) judges how good the replies sound. The extra `listen` installs both
packages. Prints a table, and writes `listened.json` into the workdir.
"""

import dataclasses
import json

from absl import flags
from rich.progress import track

from experiments.run.ears import KNOWN, TINY_EN, encoder_path
from experiments.run.setup import finished_run, open_workdir
from experiments.toy.listening import Listened, listen
from experiments.toy.questions import JOINT_STEPS, ROWS, joint, prompts, world_rows
from experiments.toy.robustness import evenly
from fac_jax import cli
from fac_jax.audio.io import RATE, resampled
from fac_jax.evaluation.speech.recognisers import dnsmos, faster_whisper
from fac_jax.generation.prepared import prepare
from fac_jax.generation.respond import respond
from fac_jax.io import write_text
from fac_jax.types import InputError

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
DATA_DIR = flags.DEFINE_string("data_dir", None, "Folder of data sets; WORKDIR/data if it exists, else runs/data.")
CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model, stage or checkpoint; the run's last model if absent.")
RECOGNISER = flags.DEFINE_string("recogniser", TINY_EN, "Model for faster-whisper.")
MOS = flags.DEFINE_bool("mos", False, "Judge the sound by DNSMOS too.")
MOST = flags.DEFINE_integer("most", 100, "Held-out questions, at equal distances.", 1)


def main() -> None:
    """Runs the command."""
    name = RECOGNISER.value
    path = str(encoder_path(name)) if name in KNOWN else name
    recogniser = faster_whisper(path, language="en", device="cpu", compute_type="float32")
    judge = dnsmos() if MOS.value else None
    workdir = open_workdir(WORKDIR.value)
    run, params = finished_run(workdir, DATA_DIR.value, CHECKPOINT.value)
    if run.codec is None:
        raise InputError(f"--workdir={workdir}: the run has no codec, so its model does not speak")
    codec = run.codec
    rows = evenly(world_rows(run, "test"), MOST.value)
    model, decoder = prepare(run.config.model, params, run.layout)
    decoding = joint(JOINT_STEPS, run.config.model)
    replies = respond(model, decoder, prompts(run, rows, "s2s"), run.tokenizer, decoding, ROWS, layout=run.layout)
    said = [reply for reply in track(replies, description="asking", total=len(rows)) if reply.text and reply.units.size]
    if not said:
        raise InputError(f"--workdir={workdir}: the model spoke nothing")
    right = [resampled(row.assistant_audio, RATE, codec.heard_rate) for row in rows if row.assistant_audio is not None]
    units = [reply.units for reply in said], codec.encode_batch(right)
    texts = [reply.text for reply in said], [row.reply for row in rows]
    found: dict[str, Listened] = {}
    for name, spoken, text in zip(("replies", "right replies, codec"), units, texts, strict=True):
        waves = [resampled(codec.decode(one), codec.rate, RATE) for one in track(spoken, description=name)]
        found[name] = listen(waves, text, recogniser, judge)
    for name, one in found.items():
        words = " ".join(f"{share:.2f}" for share in one.words)
        mos = "" if one.mos is None else f"  DNSMOS {one.mos:.2f}"
        print(f"{name:24s} word error rate {one.word_error_rate:.3f}  words heard, by place {words}{mos}")
    write_text(
        workdir / "listened.json", json.dumps({name: dataclasses.asdict(one) for name, one in found.items()}) + "\n"
    )


if __name__ == "__main__":
    cli.run(main)
