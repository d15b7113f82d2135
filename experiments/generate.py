"""Asks a trained model one question, or those of a file, and prints its responses.

python -m experiments.generate --checkpoint runs/quickstart --audio question.wav --out reply.wav
python -m experiments.generate --checkpoint runs/quickstart --mode t2t --text "what is two plus three"
python -m experiments.generate --checkpoint runs/quickstart --prompts questions.jsonl --out replies

A line of --prompts is an object with "audio" or "text" or both, and optionally "system" and "id". Its responses are
JSON lines on stdout. --out is the folder of their waves, and of `replies.jsonl`, which has the same lines: the same
command goes on after the last of them. See docs/generation.md.
"""

import json
import sys
from pathlib import Path
from typing import cast

from absl import flags

from data_pipelines.importers.rows import json_rows
from data_pipelines.paths import check_output, check_output_file
from data_pipelines.records.reject import Rejected, formatted
from fac_jax import cli
from fac_jax.api import Model
from fac_jax.audio import io
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.question import MODES, Mode, single_turn
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.generation.sampling import Sampling
from fac_jax.generation.slots import Decoding
from fac_jax.io import write_text
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.progress import passing
from fac_jax.types import InputError

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Finished model, stage or workdir.", required=True)
AUDIO = flags.DEFINE_string("audio", None, "Spoken question, any file that soundfile or librosa reads.")
TEXT = flags.DEFINE_string("text", "", "Question as text, or an instruction that follows the audio.")
SYSTEM = flags.DEFINE_string("system", None, "System prompt; the mode's own if absent.")
PROMPTS = flags.DEFINE_string("prompts", None, "JSONL file of questions; its audio paths start at its folder.")
MODE = flags.DEFINE_enum("mode", "s2s", MODES, "Speech or text in, speech with text or text out.")
CODEC = flags.DEFINE_string("codec", None, "Folder of a codec with the same ids; the model's own if absent.")
OUT = flags.DEFINE_string("out", None, "WAV file of the spoken reply, or folder with --prompts.")
JSON = flags.DEFINE_bool("json", False, "Print a JSON object for each response; always so with --prompts.")
ROWS = flags.DEFINE_integer("rows", 1, "Questions answered together.", 1)
MAX_STEPS = flags.DEFINE_integer("max_steps", 64, "Most text ids of a response; one is 200 ms of speech.", 1)
TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "Above 0, speech ids are drawn; text stays greedy.", 0.0)
TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw speech ids from the likeliest of this total probability.", 0.0, 1.0)
PENALTY = flags.DEFINE_float("repetition_penalty", 1.0, "Penalty on speech ids spoken before.", 0.0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.")
QUANTIZE = flags.DEFINE_enum("quantize", None, QUANTIZED, "Form of the weights; as they are stored if absent.")
TABLES = flags.DEFINE_bool("quantize_tables", False, "Bring the tables of text and speech ids to int8.")
ADAPTER = flags.DEFINE_string("adapter", None, "Adapter in PEFT's format, or stage that trained one, to put on.")
ANY_BASE = flags.DEFINE_bool("any_base", False, "Take an adapter that was made for a base with other values.")
SAMPLED = (MAX_STEPS, TEMPERATURE, TOP_P, PENALTY, SEED)

REPLIES, OPTIONS = "replies.jsonl", "options.json"  # in the folder of --out


def question(mode: Mode, audio: str | None, text: str, system: str | None = None, name: str = "") -> Conversation:
    """Returns the conversation of a system prompt (None: the mode's own) and one user's turn.

    Raises:
      InputError: the mode's input is missing, or the audio cannot be read or is shorter than one speech token.
    """
    if mode.startswith("t"):
        if audio is not None or not text:
            raise InputError(f"--mode {mode} reads a question: give text and no audio")
        return single_turn(name or "--text", text, io.RATE, mode, "", system)
    if audio is None:
        raise InputError(f"--mode {mode} hears a question: give audio")
    wave = io.load(audio)
    if len(wave) * TOKEN_RATE < io.RATE:
        raise InputError(f"{audio}: {1000 * len(wave) / io.RATE:.0f} ms of audio, less than one speech token of 40 ms")
    return single_turn(name or audio, wave, io.RATE, mode, text, system)


def questions(file: Path, mode: Mode, system: str | None) -> list[Conversation]:
    """Returns the questions of a JSONL file, as `question` makes them. Ids name the waves, so they must differ.

    Raises:
      InputError: a line is no such object, an id occurs twice or is no file name, or as in `question`.
    """
    found: list[Conversation] = []
    for row in json_rows(file):
        if isinstance(row, Rejected):
            raise InputError(f"{file}: {formatted(row)}")
        number, values = row
        unknown = [key for key in values if key not in ("id", "audio", "text", "system")]
        wrong = [key for key, value in values.items() if not isinstance(value, str)]
        if unknown or wrong:
            raise InputError(f"{file}:{number}: {(unknown or wrong)[0]}: known are the texts id, audio, text, system")
        name, audio = values.get("id", f"{number:04d}"), values.get("audio")
        if "/" in name or name in {other.id for other in found}:
            raise InputError(f"{file}:{number}: id {name!r} occurs twice, or is no name for a file")
        path = None if audio is None else str(file.parent / audio)
        found.append(question(mode, path, values.get("text", ""), values.get("system", system), name))
    if not found:
        raise InputError(f"{file}: holds no question")
    return found


def main() -> None:
    """Checks the options, asks the model, prints responses and writes waves."""
    mode, several = cast(Mode, MODE.value), PROMPTS.value is not None
    joint = mode.endswith("2s")
    if several and (AUDIO.value is not None or TEXT.value):
        raise InputError("--prompts holds the questions: leave --audio and --text out")
    if joint and OUT.value is None:
        raise InputError(f"--mode {mode} speaks: name with --out {'a folder' if several else 'a .wav file'}")
    if OUT.value is not None and several:
        check_output("--out", OUT.value)
        if Path(OUT.value).is_file():
            raise InputError(f"--out={OUT.value}: is a file; name a folder")
    elif OUT.value is not None:
        check_output_file("--out", OUT.value, ".wav")
    out = Path(OUT.value) if joint and OUT.value is not None else None
    speech = Sampling(temperature=TEMPERATURE.value, top_p=TOP_P.value, repetition_penalty=PENALTY.value)
    decoding = Decoding("joint" if joint else "text", MAX_STEPS.value, speech=speech)
    if several:
        asked = questions(Path(PROMPTS.value or ""), mode, SYSTEM.value)
    else:
        asked = [question(mode, AUDIO.value, TEXT.value, SYSTEM.value)]
    done = _answered(Path(OUT.value)) if several and OUT.value is not None else set()
    left = [(number, one) for number, one in enumerate(asked) if one.id not in done]
    if done:
        print(f"{len(asked) - len(left)} of {len(asked)} were answered before", file=sys.stderr)
    if not left:
        return
    quantize = cast(Quantized | None, QUANTIZE.value)
    model = Model.load(CHECKPOINT.value, CODEC.value, quantize, TABLES.value, ADAPTER.value, ANY_BASE.value)
    for _, one in left:
        for remark in (found for turn in one.turns if turn.wave is not None for found in model.remarks(turn.wave)):
            print(f"warning: {one.id} {remark}", file=sys.stderr)
    numbers, conversations = [number for number, _ in left], [one for _, one in left]
    replies = model.respond_to(conversations, decoding, SEED.value, ROWS.value, numbers)
    for one, reply in zip(conversations, passing("replies", len(left))(replies), strict=True):
        file = None
        if out is not None and reply.wave.size:
            file = out / f"{one.id}.wav" if several else out
            io.save_wav(file, reply.wave, reply.rate)
        wave = {"wave": None if file is None else str(file), "seconds": round(len(reply.wave) / reply.rate, 3)}
        line = json.dumps({"id": one.id, "text": reply.text, "finished": reply.finished, **wave}, ensure_ascii=False)
        if several and OUT.value is not None:
            _keep(Path(OUT.value), line)
        print(line if several or JSON.value else reply.text, flush=True)
        if not reply.finished:
            print(f"{one.id}: " * several + f"(cut at {MAX_STEPS.value})", file=sys.stderr)
        if joint and file is None:
            print(f"{one.id}: " * several + "(no speech, so no wave is written)", file=sys.stderr)


def _answered(folder: Path) -> set[str]:
    """Returns the ids of the replies that a folder holds already, and notes in it how these and all others are made.

    Raises:
      InputError: they were made with other options.
    """
    options = {flag.name: flag.value for flag in (MODE, CODEC, SYSTEM, QUANTIZE, TABLES, ADAPTER, *SAMPLED)}
    options |= {"checkpoint": str(Path(CHECKPOINT.value)), "prompts": Path(PROMPTS.value or "").read_text("utf-8")}
    noted, file = folder / OPTIONS, folder / REPLIES
    lines = file.read_text("utf-8").split("\n")[:-1] if file.exists() else []  # a kill leaves half a line
    before = json.loads(noted.read_text("utf-8")) if noted.exists() else {}
    other = [name for name, value in options.items() if before.get(name) != value]
    if lines and other:
        raise InputError(f"--out={folder}: holds replies that were made with another {', '.join(other)}; name another")
    write_text(noted, json.dumps(options, indent=1) + "\n")
    write_text(file, "".join(f"{line}\n" for line in lines))
    return {json.loads(line)["id"] for line in lines}


def _keep(folder: Path, line: str) -> None:
    with (folder / REPLIES).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


if __name__ == "__main__":
    cli.run(main, interrupted="responses that were printed are complete; with --out the same command goes on")
