"""Serves a model: realtime speech over WebSockets, chat completions over HTTP, and a page to talk to it.

python -m experiments.serve
python -m experiments.serve --checkpoint runs/mine --port 9000 --quantize=int8

Without --checkpoint it serves runs/quickstart if that is there, and otherwise a small model that ships with the
package. Any client of OpenAI's realtime or chat protocol works by its base_url, http://127.0.0.1:8000/v1 by default.
Others than this machine reach it by --host, which needs keys (the environment variable FAC_API_KEYS, with commas, or
--keys_file, one a line), and browsers give it a microphone only over HTTPS (--ssl_certfile, --ssl_keyfile).
docs/serving.md has the protocols, the limits and what was measured.
"""

import io
import json
import os
from pathlib import Path
from typing import Final, cast

import soundfile
from absl import flags

import fac_jax
from fac_jax import cli
from fac_jax.audio.io import read
from fac_jax.demo import MODEL
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.serving.config import KEYS_VARIABLE, ServerConfig
from fac_jax.types import InputError

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model, stage, workdir or folder in the release's layout.")
NAME = flags.DEFINE_string("name", None, "Name of the model for clients; that of its folder if absent.")
HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at.")
PORT = flags.DEFINE_integer("port", 8000, "Port to listen at; 0 for any that is free.", 0, 65535)
CODEC = flags.DEFINE_string("codec", None, "Folder of a codec with the same ids; the model's own if absent.")
QUANTIZE = flags.DEFINE_enum("quantize", None, QUANTIZED, "Form of the weights; as they are stored if absent.")
TABLES = flags.DEFINE_bool("quantize_tables", False, "Bring the tables of text and speech ids to int8.")
SLOTS = flags.DEFINE_integer("slots", 8, "Replies that are made side by side; 0 for as many as the memory holds.", 0)
CONTEXT = flags.DEFINE_integer(
    "context", None, "LLM positions of a talk; those of the model, at most 2048, if absent.", 1
)
DETECTOR = flags.DEFINE_enum("detector", "auto", ["auto", "silero", "pysilero", "energy"], "Detector of speech.")
DETECTOR_FILE = flags.DEFINE_string("detector_file", None, "Silero's network, an ONNX file, for --detector=silero.")
ORIGINS = flags.DEFINE_list("allow_origin", [], "Web origins that may connect, besides the server's own.")
KEYS_FILE = flags.DEFINE_string("keys_file", None, "File of keys that clients must give, one a line.")
CERTIFICATE = flags.DEFINE_string("ssl_certfile", None, "Certificate, for HTTPS.")
PRIVATE_KEY = flags.DEFINE_string("ssl_keyfile", None, "Private key of the certificate.")
TRANSCRIBE = flags.DEFINE_bool(
    "transcribe",
    None,
    "Let the model write down what it hears, for clients that ask; off for models of the quickstart.",
)
LOG_CONTENT = flags.DEFINE_bool("log_content", False, "Let the log hold what is said; it never holds audio or keys.")

RUN: Final = Path("runs/quickstart")  # what `make quickstart` trains
MOST_CONTEXT: Final = 2048
SOUNDS: Final = "sounds.json"  # questions with their recordings, of a quickstart's workdir


def chosen() -> Path:
    """Returns the checkpoint that is served."""
    if CHECKPOINT.value is not None:
        return Path(CHECKPOINT.value)
    return RUN if (RUN / "config.json").exists() else MODEL


def keys() -> tuple[str, ...]:
    """Returns the keys that clients must give.

    Raises:
      InputError: the file of keys cannot be read, or holds none.
    """
    given = os.environ.get(KEYS_VARIABLE, "").split(",")
    if KEYS_FILE.value is not None:
        try:
            given += Path(KEYS_FILE.value).read_text("utf-8").split("\n")
        except OSError as error:
            raise InputError(f"--keys_file={KEYS_FILE.value}: {error.strerror}") from None
    found = tuple(dict.fromkeys(key.strip() for key in given if key.strip()))
    if KEYS_FILE.value is not None and not found:
        raise InputError(f"--keys_file={KEYS_FILE.value}: holds no key")
    return found


def main() -> None:
    """Runs the command."""
    try:
        from fac_jax.serving import logs
        from fac_jax.serving.app import make_app
        from fac_jax.serving.detect.make import detector_factory
        from fac_jax.serving.engine.config import EngineConfig
        from fac_jax.serving.engine.engine import make_engine
        from fac_jax.serving.metrics import Metrics
        from fac_jax.serving.run import Serving, check_port, uvicorn_config
        from fac_jax.serving.server import Server
    except ImportError as error:
        raise InputError(f"{error}: pip install -e '.[serve]'") from error
    check_port(HOST.value, PORT.value)
    for flag in (CERTIFICATE, PRIVATE_KEY):
        if flag.value is not None and not Path(flag.value).is_file():
            raise InputError(f"--{flag.name}={flag.value}: no such file")
    checkpoint, metrics = chosen(), Metrics()
    # A model that has never learnt to write down what it hears answers instead.
    transcribe = checkpoint not in (MODEL, RUN) if TRANSCRIBE.value is None else TRANSCRIBE.value
    config = ServerConfig(
        keys=keys(), origins=tuple(ORIGINS.value), transcribe=transcribe, log_content=LOG_CONTENT.value
    )
    detector = detector_factory(DETECTOR.value, DETECTOR_FILE.value)
    model = fac_jax.load(checkpoint, CODEC.value, cast(Quantized | None, QUANTIZE.value), TABLES.value)
    if CODEC.value is not None:
        _ = model.codec  # a codec that was asked for and is not there
    context = CONTEXT.value or min(MOST_CONTEXT, model.config.context)
    name = NAME.value or ("fac-jax-demo" if checkpoint == MODEL else checkpoint.resolve().name)
    engine = make_engine(model, name, EngineConfig(slots=SLOTS.value, context=context), metrics)
    app = make_app(Server(engine, config, detector, metrics), questions=questions(checkpoint))
    settings = uvicorn_config(app, HOST.value, PORT.value, CERTIFICATE.value, PRIVATE_KEY.value)
    print(f"{checkpoint}: {name}, {engine.context} positions, detector {detector.name}; getting ready ..", flush=True)
    logs.set_up(log_content=LOG_CONTENT.value)
    engine.warm_up()
    scheme = "http" if CERTIFICATE.value is None else "https"
    try:
        Serving(settings, lambda port: print(f"Talk to it: {scheme}://{HOST.value}:{port}/", flush=True)).run()
    finally:
        engine.stop()


def questions(checkpoint: Path) -> list[tuple[str, bytes]]:
    """Returns the recorded questions that a quickstart leaves in its workdir, as texts and WAV files."""
    file = checkpoint / SOUNDS
    if not file.exists():
        return []
    found = []
    for one in json.loads(file.read_text("utf-8")):
        sound, wav = read(checkpoint / one["asked"]), io.BytesIO()
        soundfile.write(wav, sound.wave, 16_000, format="WAV", subtype="PCM_16")
        found.append((one["prompt"], wav.getvalue()))
    return found


if __name__ == "__main__":
    cli.run(main, interrupted="talks were ended")
