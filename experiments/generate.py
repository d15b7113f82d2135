"""Asks a trained model one thing and prints its answer.

python -m experiments.generate --checkpoint runs/quickstart --audio question.wav --out reply.wav
python -m experiments.generate --checkpoint runs/quickstart --mode t2t --text "what is two plus three"
"""

from pathlib import Path

import jax
from absl import flags

from fac_jax import cli
from fac_jax.audio import io
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode
from fac_jax.checkpoint import assets
from fac_jax.checkpoint.export import load_config, load_params, resolve
from fac_jax.codec.base import Codec, load_codec
from fac_jax.generation.decode import Decoding, prepare
from fac_jax.generation.respond import Response, respond
from fac_jax.generation.sampling import Sampling
from fac_jax.models.fun_audio_chat import init_params
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Finished model, stage or workdir.", required=True)
AUDIO = flags.DEFINE_string("audio", None, "Spoken question, any file that soundfile or librosa reads.")
TEXT = flags.DEFINE_string("text", "", "Question as text, or an instruction beside the audio.")
MODE = flags.DEFINE_enum(
    "mode", "s2s", ["s2s", "s2t", "t2s", "t2t"], "Speech or text in, speech with text or text out."
)
CODEC = flags.DEFINE_string("codec", None, "Folder of a codec of the same ids; that of the model if not given.")
OUT = flags.DEFINE_string("out", None, "Wave file of the spoken reply; needed where the reply is spoken.")
MAX_STEPS = flags.DEFINE_integer("max_steps", 64, "Text ids of the answer at most; one is 200 ms of speech.", 0)
TEMPERATURE = flags.DEFINE_float("temperature", 0.0, "Above 0, speech ids are drawn; text stays greedy.", 0.0)
TOP_P = flags.DEFINE_float("top_p", 1.0, "Draw speech ids among the likeliest of this probability.", 0.0, 1.0)
PENALTY = flags.DEFINE_float("repetition_penalty", 1.0, "On speech ids spoken before.", 0.0)
SEED = flags.DEFINE_integer("seed", 0, "Of the draws.")


def question(mode: str, audio: str | None, text: str) -> Conversation:
    """The user's turn under the mode's system prompt.

    Raises:
      InputError: the mode's input is missing, or the audio cannot be read.
    """
    system = SYSTEM_JOINT if mode.endswith("2s") else SYSTEM_TEXT
    if mode.startswith("s"):
        if audio is None:
            raise InputError(f"--mode {mode} hears a question: give it with --audio")
        return Conversation(audio, system, (Turn("user", text, wave=io.load(audio)),))
    if audio is not None or not text:
        raise InputError(f"--mode {mode} reads a question: give it with --text, and no --audio")
    return Conversation("--text", system, (Turn("user", text),))


def ask(
    checkpoint: Path, asked: Conversation, decoding: Decoding, seed: int, codec_folder: str | None = None
) -> tuple[Response, Codec | None]:
    """Loads a model and asks it; a codec is needed, and loaded, where the model hears or says speech ids.

    Raises:
      InputError: no model, tokenizer or codec there, a codec of other ids than the model's, or a question that does not
        fit the context.
    """
    config = load_config(checkpoint)
    folder = resolve(checkpoint)
    heard = config.user_audio == "tokens" and any(turn.wave is not None for turn in asked.turns)
    codec = load_codec(codec_folder or folder / assets.CODEC) if heard or decoding.stream == "joint" else None
    if codec_folder and codec is not None and codec.units != config.units:
        raise InputError(f"--codec={codec_folder} has {codec.units} ids, the model speaks {config.units}")
    params, _ = load_params(checkpoint, jax.eval_shape(lambda: init_params(config, jax.random.key(0))))
    tokenizer = Tokenizer.load(folder)
    model, params = prepare(config, params)
    room = config.context - decoding.max_steps
    (filled,) = add_features({"": [asked]}, codec, config.user_audio)[""]
    prompt = encode(filled, tokenizer, config, add_generation_prompt=True, seq_len=room)
    (answer,) = respond(model, params, [prompt], tokenizer, decoding, rows=1, seed=seed)
    return answer, codec


def main() -> None:
    """The command."""
    joint = MODE.value.endswith("2s")
    if joint and OUT.value is None:
        raise InputError(f"--mode {MODE.value} speaks: say with --out where the wave goes")
    speech = Sampling(repetition_penalty=PENALTY.value)
    if TEMPERATURE.value:
        speech = Sampling("draw", temperature=TEMPERATURE.value, top_p=TOP_P.value, repetition_penalty=PENALTY.value)
    decoding = Decoding("joint" if joint else "text", MAX_STEPS.value, speech=speech)
    asked = question(MODE.value, AUDIO.value, TEXT.value)
    answer, codec = ask(Path(CHECKPOINT.value), asked, decoding, SEED.value, CODEC.value)
    print(answer.text)
    if joint and OUT.value is not None and codec is not None:
        if not answer.units.size:
            raise InputError("the model spoke nothing, so no wave was written; train it longer or raise --max_steps")
        io.save_wav(OUT.value, codec.decode(answer.units), codec.rate)


if __name__ == "__main__":
    cli.run(main)
