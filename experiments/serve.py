"""Serves a model: realtime speech over WebSockets, chat completions over HTTP, and a page to talk to it.

python -m experiments.serve
python -m experiments.serve --checkpoint runs/mine --port 9000 --quantize=int8

Without --checkpoint it serves runs/quickstart if that is there, and otherwise a small model that ships with the
package. Any client of OpenAI's realtime or chat protocol works by its base_url, http://127.0.0.1:8000/v1 by default.
Others than this machine reach it by --host, which needs keys (the environment variable FAC_API_KEYS, with commas, or
--keys_file, one a line), and browsers give it a microphone only over HTTPS (--ssl_certfile, --ssl_keyfile).
--shared_dir lets talks outlive the server, --record keeps them, and --replicas serves on a Ray cluster.
docs/serving.md has the protocols, the limits and what was measured.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from absl import flags

from fac_jax import cli
from fac_jax.demo import MODEL
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.serving.config import ServerConfig, keys
from fac_jax.types import InputError

if TYPE_CHECKING:
    from fac_jax.serving.start import StartConfig

CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Model, stage, workdir or folder in the release's layout.")
NAME = flags.DEFINE_string("name", None, "Name of the model for clients; that of its folder if absent.")
HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen at.")
PORT = flags.DEFINE_integer("port", 8000, "Port to listen at; 0 for any that is free.", 0, 65535)
CODEC = flags.DEFINE_string("codec", None, "Folder of a codec with the same ids; the model's own if absent.")
QUANTIZE = flags.DEFINE_enum("quantize", None, QUANTIZED, "Form of the weights; as they are stored if absent.")
TABLES = flags.DEFINE_bool("quantize_tables", False, "Bring the tables of text and speech ids to int8.")
ADAPTER = flags.DEFINE_string("adapter", None, "Adapter in PEFT's format, or stage that trained one, to put on.")
ADAPTERS = flags.DEFINE_list(
    "adapters", [], "NAME=DIR,.. : adapters beside the base, each of them a model NAME that clients can choose."
)
ANY_BASE = flags.DEFINE_bool("any_base", False, "Take adapters that were made for a base with other values.")
SLOTS = flags.DEFINE_integer("slots", 8, "Replies that are made side by side; 0 for as many as the memory holds.", 0)
CONTEXT = flags.DEFINE_integer(
    "context", None, "LLM positions of a talk; those of the model, at most 2048, if absent.", 1
)
CALLS = flags.DEFINE_integer("calls", 8, "Live sessions at once of a full-duplex model.", 1)
ROLL_AFTER = flags.DEFINE_integer(
    "roll_after", None, "Slots of 200 ms after which a call reads its past as text; never if absent.", 1
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
SHARED_DIR = flags.DEFINE_string(
    "shared_dir", None, "Folder in which sessions outlive the server, for clients that lose it; servers may share it."
)
RECORD = flags.DEFINE_string("record", None, "Folder in which every talk is recorded, audio and events.")
REPLICAS = flags.DEFINE_integer("replicas", None, "Servers on a Ray cluster; one process without Ray if absent.", 1)
RAY_ADDRESS = flags.DEFINE_string("ray_address", None, "Ray cluster, for --replicas; one on this machine if absent.")
GPUS = flags.DEFINE_float("gpus", 0.0, "GPUs of each replica, for --replicas.", 0.0)
LOG_CONTENT = flags.DEFINE_bool("log_content", False, "Let the log hold what is said; it never holds audio or keys.")

RUN: Final = Path("runs/quickstart")  # what `make quickstart` trains
FAILED: Final = 1  # exit code when the engine is over, for whoever starts the server again
ANYWHERE: Final = ("0.0.0.0", "::", "")  # hosts that mean every address of this machine


def chosen() -> Path:
    """Returns the checkpoint that is served."""
    if CHECKPOINT.value is not None:
        return Path(CHECKPOINT.value)
    return RUN if (RUN / "config.json").exists() else MODEL


def address(scheme: str, host: str, port: int) -> str:
    """Returns the address of a server for a browser on this machine, where one that listens everywhere is localhost."""
    name = "localhost" if host in ANYWHERE else f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{port}/"


def named(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Returns the names and the folders of adapters beside the base.

    Raises:
      InputError: one has no name or no folder, or a name is there twice.
    """
    pairs = [(name, folder) for name, _, folder in (one.partition("=") for one in given)]
    if wrong := [one for one, (name, folder) in zip(given, pairs, strict=True) if not name or not folder]:
        raise InputError(f"--adapters: {wrong[0]!r} is not NAME=DIR")
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"--adapters: {twice[0]!r} is there twice")
    return tuple(pairs)


def config() -> "StartConfig":
    """Returns what is served, and how, as the flags say."""
    from fac_jax.serving.start import StartConfig

    checkpoint = chosen()
    if ADAPTER.value is not None and ADAPTERS.value:
        raise InputError("--adapter changes the base of --adapters: give one of the two")
    # A model that has never learnt to write down what it hears answers instead.
    transcribe = checkpoint not in (MODEL, RUN) if TRANSCRIBE.value is None else TRANSCRIBE.value
    return StartConfig(
        checkpoint=str(checkpoint),
        name="fac-jax-demo" if NAME.value is None and checkpoint == MODEL else NAME.value,
        codec=CODEC.value,
        quantize=cast(Quantized | None, QUANTIZE.value),
        quantize_tables=TABLES.value,
        adapter=ADAPTER.value,
        adapters=named(ADAPTERS.value),
        any_base=ANY_BASE.value,
        slots=SLOTS.value,
        context=CONTEXT.value,
        calls=CALLS.value,
        roll_after=ROLL_AFTER.value,
        detector=DETECTOR.value,
        detector_file=DETECTOR_FILE.value,
        shared_dir=SHARED_DIR.value,
        record_dir=RECORD.value,
        server=ServerConfig(
            keys=keys(KEYS_FILE.value),
            origins=tuple(ORIGINS.value),
            transcribe=transcribe,
            log_content=LOG_CONTENT.value,
        ),
    )


def main() -> None:
    """Runs the command."""
    try:
        asked = config()
        from fac_jax.serving import logs
        from fac_jax.serving.run import Serving, check_keys, check_port, uvicorn_config
        from fac_jax.serving.start import leave_a_core, start
    except ImportError as error:
        raise InputError(f"{error}: pip install -e '.[serve]'") from error
    check_keys(HOST.value, asked.server)
    check_port(HOST.value, PORT.value)
    for flag in (CERTIFICATE, PRIVATE_KEY):
        if flag.value is not None and not Path(flag.value).is_file():
            raise InputError(f"--{flag.name}={flag.value}: no such file")

    def tell(port: int) -> None:
        print(f"Talk to it: {address('https' if CERTIFICATE.value else 'http', HOST.value, port)}", flush=True)

    if REPLICAS.value is not None:
        return on_ray(asked, REPLICAS.value, tell)
    leave_a_core()
    started = start(asked)
    engine = started.engine
    settings = uvicorn_config(started.app, HOST.value, PORT.value, CERTIFICATE.value, PRIVATE_KEY.value)
    told = f"{', '.join(engine.models)}, {engine.context} positions, detector {started.detector}"
    print(f"{asked.checkpoint}: {told}; getting ready ..", flush=True)
    if RECORD.value is not None:
        print(f"Every talk is recorded in {RECORD.value}", flush=True)
    logs.set_up(log_content=LOG_CONTENT.value)
    started.warm_up()
    serving = Serving(settings, tell)
    try:
        serving.run()
    finally:
        started.stop()
    if serving.failed:
        sys.exit(FAILED)


def on_ray(asked: "StartConfig", replicas: int, tell: Callable[[int], None]) -> None:
    """Serves on a Ray cluster until it is interrupted."""
    try:
        from fac_jax.serving.cluster import serve
    except ImportError as error:
        raise InputError(f"{error}: pip install -e '.[cluster]'") from error
    serve(
        asked,
        replicas,
        tell,
        host=HOST.value,
        port=PORT.value,
        ssl_certfile=CERTIFICATE.value,
        ssl_keyfile=PRIVATE_KEY.value,
        address=RAY_ADDRESS.value,
        gpus=GPUS.value,
    )


if __name__ == "__main__":
    cli.run(main, interrupted="talks were ended")
