"""Asks a trained model one question, or those of a file, and prints its responses.

python -m experiments.generate --checkpoint runs/quickstart --audio question.wav --out reply.wav
python -m experiments.generate --checkpoint runs/quickstart --mode t2t --text "what is two plus three"
python -m experiments.generate --checkpoint runs/quickstart --prompts questions.jsonl --out replies

A line of --prompts is an object with "audio" or "text" or both, and optionally "system" and "id". Its responses are
JSON lines on stdout, and --out is the folder of their waves. See docs/generation.md.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import flags

from data_pipelines.importers.rows import json_rows
from data_pipelines.outputs import check_output, check_output_file
from data_pipelines.records.lint import lint_wave
from data_pipelines.records.reject import Rejected, formatted
from fac_jax import cli
from fac_jax.audio import io
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example, encode
from fac_jax.checkpoint import assets
from fac_jax.checkpoint.export import load_config, load_params, resolve
from fac_jax.codec.base import TOKEN_RATE, Codec, load_codec
from fac_jax.generation.decode import Decoding, prepare
from fac_jax.generation.respond import Response, respond
from fac_jax.generation.sampling import Sampling
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError, Kind

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Finished model, stage or workdir.", required=True)
AUDIO = flags.DEFINE_string("audio", None, "Spoken question, any file that soundfile or librosa reads.")
TEXT = flags.DEFINE_string("text", "", "Question as text, or an instruction that follows the audio.")
SYSTEM = flags.DEFINE_string("system", None, "System prompt; the mode's own if absent.")
PROMPTS = flags.DEFINE_string("prompts", None, "JSONL file of questions; its audio paths start at its folder.")
MODE = flags.DEFINE_enum(
    "mode", "s2s", ["s2s", "s2t", "t2s", "t2t"], "Speech or text in, speech with text or text out."
)
CODEC = flags.DEFINE_string("codec", None, "Folder of a codec with the same ids; the model's own if absent.")
OUT = flags.DEFINE_string("out", None, "WAV file of the spoken reply, or folder with --prompts.")
JSON = flags.DEFINE_bool("json", False, "Print a JSON object for each response; always so with --prompts.")
ROWS = flags.DEFINE_integer("rows", 1, "Questions answered together.", 1)
MAX_STEPS = flags.DEFINE_integer("max_steps", 64, "Most text ids of a response; one is 200 ms of speech.", 1)
TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "Above 0, speech ids are drawn; text stays greedy.", 0.0)
TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw speech ids from the likeliest of this total probability.", 0.0, 1.0)
PENALTY = flags.DEFINE_float("repetition_penalty", 1.0, "Penalty on speech ids spoken before.", 0.0)
SEED = flags.DEFINE_integer("seed", 0, "Seed of the draws.")


def question(mode: str, audio: str | None, text: str, system: str | None = None, name: str = "") -> Conversation:
    """A conversation of the system prompt and one user turn.

    Args:
      mode: "s2s", "s2t", "t2s" or "t2t".
      audio: path of the spoken question; None in modes that read.
      text: the question, or what the user adds in text to the audio.
      system: system prompt; None for the mode's own.
      name: id of the conversation; "" for the audio's path.

    Raises:
      InputError: the mode's input is missing, or the audio cannot be read or is shorter than one speech token.
    """
    system = system if system is not None else SYSTEM_JOINT if mode.endswith("2s") else SYSTEM_TEXT
    if mode.startswith("t"):
        if audio is not None or not text:
            raise InputError(f"--mode {mode} reads a question: give text and no audio")
        return Conversation(name or "--text", system, (Turn("user", text),))
    if audio is None:
        raise InputError(f"--mode {mode} hears a question: give audio")
    wave = io.load(audio)
    if len(wave) * TOKEN_RATE < io.RATE:
        raise InputError(f"{audio}: {1000 * len(wave) / io.RATE:.0f} ms of audio, less than one speech token of 40 ms")
    return Conversation(name or audio, system, (Turn("user", text, wave=wave),))


def questions(file: Path, mode: str, system: str | None) -> list[Conversation]:
    """The questions of a JSONL file, as `question` makes them. Ids name the waves, so they must differ.

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


def ask(
    checkpoint: Path,
    asked: Sequence[Conversation],
    decoding: Decoding,
    seed: int,
    codec_folder: str | None = None,
    rows: int = 1,
) -> tuple[list[Response], Codec | None]:
    """Loads a model and asks it questions.

    A codec is loaded only if the model hears or speaks codec ids.

    Args:
      checkpoint: finished model, stage or workdir.
      asked: conversations that end with the user's turn.
      decoding: stream, limits and sampling.
      seed: of the draws.
      codec_folder: codec in place of the model's own.
      rows: questions answered together.

    Raises:
      InputError: the model, tokenizer or codec is missing, the codec's ids are not the model's, or a question does not
        fit the context.
    """
    config = load_config(checkpoint)
    folder = Path(resolve(checkpoint))
    if decoding.max_steps >= config.context:
        raise InputError(
            f"--max_steps={decoding.max_steps}: the context of the model is {config.context} LLM positions, question "
            "and response together"
        )
    heard = config.user_audio == "tokens" and any(turn.wave is not None for one in asked for turn in one.turns)
    codec = load_codec(codec_folder or folder / assets.CODEC) if heard or decoding.stream == "joint" else None
    if codec_folder and codec is not None and codec.units != config.units:
        raise InputError(f"--codec={codec_folder} has {codec.units} ids, the model speaks {config.units}")
    tokenizer = Tokenizer.load(folder)
    filled = add_features({"": list(asked)}, codec, config.user_audio)[""]
    prompts = [_prompt(one, tokenizer, config, decoding.max_steps) for one in filled]
    params, _ = load_params(checkpoint, jax.eval_shape(lambda: init_params(config, jax.random.key(0))))
    model, params = prepare(config, params)
    return list(respond(model, params, prompts, tokenizer, decoding, rows, seed)), codec


def _prompt(asked: Conversation, tokenizer: Tokenizer, config: ModelConfig, max_steps: int) -> Example:
    """The encoded prompt; raises InputError if it does not fit the context."""
    prompt = encode(asked, tokenizer, config, add_generation_prompt=True)
    room = config.context - max_steps
    if len(prompt) <= room:
        return prompt
    heard = sum(len(turn.wave) for turn in asked.turns if turn.wave is not None) / io.RATE
    most = (room - int((prompt.kind != Kind.SPEECH).sum())) * config.group_size / TOKEN_RATE
    audio = f" with {heard:.1f} s of audio (at most {max(most, 0):.1f} s fit)" if heard else ""
    raise InputError(
        f"{asked.id}: the question{audio} takes {len(prompt)} LLM positions; {room} of the context of {config.context} "
        f"are left with --max_steps={max_steps}"
    )


def output(response: Response, wave: Path | None, seconds: float) -> Mapping[str, Any]:
    """A response as a JSON object; `wave` is the file of `seconds` that was written, None for none."""
    spoken = {"wave": None if wave is None else str(wave), "seconds": round(seconds, 3)}
    return {"id": response.id, "text": response.text, "finished": response.finished, **spoken}


def main() -> None:
    """Checks the options, asks the model, prints responses and writes waves."""
    joint, several = MODE.value.endswith("2s"), PROMPTS.value is not None
    if several and (AUDIO.value is not None or TEXT.value):
        raise InputError("--prompts holds the questions: leave --audio and --text out")
    if joint and OUT.value is None:
        raise InputError(f"--mode {MODE.value} speaks: name with --out {'a folder' if several else 'a .wav file'}")
    if OUT.value is not None and several:
        check_output("--out", OUT.value)
    elif OUT.value is not None:
        check_output_file("--out", OUT.value, ".wav")
    out = Path(OUT.value) if joint and OUT.value is not None else None
    speech = Sampling(repetition_penalty=PENALTY.value)
    if TEMPERATURE.value:
        speech = Sampling("draw", temperature=TEMPERATURE.value, top_p=TOP_P.value, repetition_penalty=PENALTY.value)
    decoding = Decoding("joint" if joint else "text", MAX_STEPS.value, speech=speech)
    if several:
        asked = questions(Path(PROMPTS.value or ""), MODE.value, SYSTEM.value)
    else:
        asked = [question(MODE.value, AUDIO.value, TEXT.value, SYSTEM.value)]
    for one in asked:
        for _, detail in (found for turn in one.turns if turn.wave is not None for found in lint_wave(turn.wave)):
            print(f"warning: {one.id} {detail}", file=sys.stderr)
    responses, codec = ask(Path(CHECKPOINT.value), asked, decoding, SEED.value, CODEC.value, ROWS.value)
    for response in responses:
        wave, seconds = None, 0.0
        if out is not None and codec is not None and response.units.size:
            wave = out / f"{response.id}.wav" if several else out
            samples = codec.decode(response.units)
            seconds = len(samples) / codec.rate
            io.save_wav(wave, samples, codec.rate)
        line = json.dumps(output(response, wave, seconds), ensure_ascii=False)
        print(line if several or JSON.value else response.text, flush=True)
        if not response.finished:
            print(f"{response.id}: " * several + f"(cut at {MAX_STEPS.value})", file=sys.stderr)
    if joint and not several and not responses[0].units.size:
        raise InputError("the model spoke nothing, so no wave was written; train it longer or raise --max_steps")


if __name__ == "__main__":
    cli.run(main, interrupted="responses that were printed are complete")
