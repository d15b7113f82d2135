"""Runs a recording of a user through a call with a full-duplex model, and writes what both sides said.

python -m experiments.converse --checkpoint runs/duplex --user a.wav --out both.wav

Next to both.wav, which has the user on the left and the assistant on the right, it writes both.json with the turns, the
user's speech and the slots, both.png with the time line, and both.html, a page with a player. The user's recording
sounds as if it came from a microphone: the model hears every 200 ms of it when they are over. --after adds silence in
which a last answer can be heard. See docs/duplex.md.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

import fac_jax
from data_pipelines.paths import check_output_file
from fac_jax import cli
from fac_jax.api import Model
from fac_jax.audio.io import RATE, load, resampled, save_wav
from fac_jax.duplex.call import SLOT, SLOT_SECONDS, Turn
from fac_jax.evaluation.benchmarks.duplex.voice_activity import energy
from fac_jax.evaluation.reports.call import CallShown, TurnShown, call_page, call_png
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.finished import Asked, Finished, run_calls, spoken_channel
from fac_jax.generation.duplex.live_call import CallOptions
from fac_jax.generation.duplex.record import spoken_ids
from fac_jax.generation.sampling import Sampling
from fac_jax.io import replacing, write_text
from fac_jax.progress import bar
from fac_jax.text.prompts import GREET, SYSTEM_DUPLEX
from fac_jax.types import InputError

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Finished duplex model, stage or workdir.", required=True)
USER = flags.DEFINE_string(
    "user", None, "Recording of the user, any file that soundfile or librosa reads.", required=True
)
OUT = flags.DEFINE_string("out", None, "WAV file of both channels.", required=True)
CODEC = flags.DEFINE_string("codec", None, "Folder of a codec with the same ids; the model's own if absent.")
SYSTEM = flags.DEFINE_string("system", SYSTEM_DUPLEX, "System prompt.")
GREETS = flags.DEFINE_bool("greet", False, "Let the assistant speak first.")
AFTER = flags.DEFINE_float("after", 4.0, "Seconds of silence after the recording.", 0.0, 600.0)
START_BIAS = flags.DEFINE_float("start_bias", None, "Eagerness to start, in nats; the model's own if absent.")
STOP_BIAS = flags.DEFINE_float("stop_bias", None, "Eagerness to stop, in nats; the model's own if absent.")
TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "Above 0, speech ids are drawn; text stays greedy.", 0.0)
TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw speech ids from the likeliest of this total probability.", 0.0, 1.0)
PENALTY = flags.DEFINE_float("repetition_penalty", 1.0, "Penalty on speech ids of the same turn.", 0.0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.")
ROLL_AFTER = flags.DEFINE_integer(
    "roll_after", None, "Slots after which the call reads its past as text, in a quiet second; never if absent.", 1
)
LONGEST_S = 7200.0  # seconds of a call


def asked(model: Model) -> Asked:
    """Returns the user's side of the call.

    Raises:
      InputError: the recording cannot be read, or is too long.
    """
    wave = load(USER.value)
    if len(wave) > LONGEST_S * RATE:
        raise InputError(
            f"--user={USER.value}: {len(wave) / RATE:.0f} s of audio; a call takes at most {LONGEST_S:.0f}"
        )
    duplex = model.config.duplex
    assert duplex is not None
    system = f"{SYSTEM.value} {GREET}" if GREETS.value and SYSTEM.value == SYSTEM_DUPLEX else SYSTEM.value
    speech = Sampling(temperature=TEMPERATURE.value, top_p=TOP_P.value, repetition_penalty=PENALTY.value)
    options = CallOptions(SEED.value, GREETS.value, START_BIAS.value, STOP_BIAS.value, speech=speech)
    user = np.concatenate([wave, np.zeros(round(AFTER.value * RATE), np.float32)])
    return Asked(system, np.pad(user, (0, -len(user) % SLOT)), options)


def described(model: Model, call: Finished) -> dict[str, Any]:
    """Returns what was said, for a file."""

    def text(turn: Turn, count: int) -> str:
        return model.tokenizer.decode(turn.text_ids[:count].tolist()).strip()

    turns = [
        {
            "opening": turn.opening,
            "closing": turn.closing,
            "begin": round(turn.opening * SLOT_SECONDS, 3),
            "heard": round(turn.audible * SLOT_SECONDS, 3) if len(turn.groups) else None,
            "end": round(turn.closing * SLOT_SECONDS, 3),
            "text": text(turn, len(turn.text_ids)),
            "spoken": text(turn, spoken_ids(turn, len(turn.groups), call.turns)),
            "cut": turn.cut,
            "text_ids": turn.text_ids.tolist(),
            "units": turn.groups[turn.groups < model.config.units].tolist(),
        }
        for turn in call.turns
    ]
    slots = [{"mode": one.mode.name.lower(), "text_id": one.text_id, "chance": one.chance} for one in call.steps]
    return {"slot_seconds": SLOT_SECONDS, "turns": turns, "slots": slots}


def main() -> None:
    """Runs the command."""
    check_output_file("--out", OUT.value, ".wav")
    out = Path(OUT.value)
    model = fac_jax.load(CHECKPOINT.value, CODEC.value)
    calls = Calls(
        model.module, model.params, model.tokenizer, 1, draws=TEMPERATURE.value > 0, roll_after=ROLL_AFTER.value
    )
    codec, side = model.codec, asked(model)
    with bar("slots", side.slots - 1) as advance:
        ((_, call),) = run_calls(calls, [side], advance)
    found = described(model, call)
    user = resampled(side.user, RATE, codec.rate)
    assistant = spoken_channel(call.turns, side.slots, codec)
    user = np.pad(user[: len(assistant)], (0, max(0, len(assistant) - len(user))))
    speech, seconds = energy(user, codec.rate), side.slots * SLOT_SECONDS
    found["user"] = [{"begin": round(one.start, 3), "end": round(one.end, 3)} for one in speech]
    shown = CallShown(
        title=f"A call with {Path(CHECKPOINT.value).name}",
        summary=f"{Path(USER.value).name}, {seconds:.1f} s; the assistant has {len(call.turns)} turns.",
        user=user,
        assistant=assistant,
        rate=codec.rate,
        speech=speech,
        turns=[TurnShown(one["begin"], one["heard"], one["end"], one["text"], one["cut"]) for one in found["turns"]],
        chances=np.array([step.chance for step in call.steps]),
        slot=SLOT_SECONDS,
    )
    write_text(out.with_suffix(".html"), call_page(shown))
    with replacing(out.with_suffix(".png")) as part:
        part.write_bytes(call_png(shown))
    write_text(out.with_suffix(".json"), json.dumps(found, indent=1) + "\n")
    save_wav(out, np.stack([user, assistant], axis=1), codec.rate)
    for one in found["turns"]:
        heard = "never heard" if one["heard"] is None else f"heard from {one['heard']:.1f} s"
        print(f"{one['begin']:6.1f} s to {one['end']:.1f} s, {heard}{', cut' if one['cut'] else ''}: {one['text']}")
    if not found["turns"]:
        print("the assistant said nothing", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main, interrupted="nothing was written")
