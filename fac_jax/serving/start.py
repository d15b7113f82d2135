"""Makes a server of a model on a disk: the same one for a process of its own and for a replica on a cluster."""

import dataclasses
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import soundfile

from fac_jax.api import Model
from fac_jax.audio.io import read
from fac_jax.checkpoint.adapters.load import find_adapter
from fac_jax.parallel.hosts import cores
from fac_jax.parallel.kernels import Quantized
from fac_jax.serving.app import App, make_app
from fac_jax.serving.config import ServerConfig
from fac_jax.serving.detect.make import detector_factory
from fac_jax.serving.engine.config import EngineConfig
from fac_jax.serving.engine.engine import TalkEngine, make_engine
from fac_jax.serving.live.call_pool import CallPool, PoolConfig
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.page.routes import Question
from fac_jax.serving.realtime.rounds import Rounds
from fac_jax.serving.server import Server
from fac_jax.types import InputError

MOST_CONTEXT: Final = 2048
# Seconds for which a thread keeps Python from the others. The engine and the codec ask for it after every array
# operation, and wait for as long as this while the loop is busy with many talks; Python's own value is ten times it.
SWITCH_S: Final = 0.0005
SOUNDS: Final = "sounds.json"  # questions with their recordings, of a quickstart's workdir


@dataclasses.dataclass(frozen=True)
class StartConfig:
    """What is served, and how.

    Attributes:
      checkpoint: model, stage, workdir or folder in the release's layout.
      name: of the model for clients; None for that of the checkpoint's folder.
      codec: folder of a codec with the same ids; None for the model's own.
      quantize: form of the weights; None for that in which they are stored.
      quantize_tables: whether the tables of text and speech ids are quantised too.
      adapter: low-rank adapter of the model, in PEFT's format, or a stage that trained one; None for none.
      adapters: names and folders of adapters beside the base, each of which is a model of its own for clients.
      any_base: whether adapters may have been made for a base with other values.
      slots: replies that are made side by side; 0 for as many as the memory holds.
      context: LLM positions of a talk; None for those of the model, at most `MOST_CONTEXT`.
      calls: places for live sessions of a full-duplex model, whose ticks compute all of them.
      roll_after: slots after which a call is rolled over in a quiet second; None for never.
      detector: of speech (`detect.make`).
      detector_file: Silero's network, an ONNX file.
      shared_dir: folder in which sessions outlive the server; None for none.
      record_dir: folder in which talks are recorded; None for no recording.
      server: keys, origins and limits.
    """

    checkpoint: str
    name: str | None = None
    codec: str | None = None
    quantize: Quantized | None = None
    quantize_tables: bool = False
    adapter: str | None = None
    adapters: tuple[tuple[str, str], ...] = ()
    any_base: bool = False
    slots: int = 8
    context: int | None = None
    calls: int = 8
    roll_after: int | None = None
    detector: str = "auto"
    detector_file: str | None = None
    shared_dir: str | None = None
    record_dir: str | None = None
    server: ServerConfig = ServerConfig()

    @property
    def model_name(self) -> str:
        """Returns the name of the model for clients."""
        return self.name or Path(self.checkpoint).resolve().name


@dataclasses.dataclass(frozen=True, eq=False)
class Started:
    """A server that is ready to be run.

    Attributes:
      app: its application.
      engine: its engine.
      detector: name of its detector.
      calls: of a full-duplex model; None for a model that takes turns.
    """

    app: App
    engine: TalkEngine
    detector: str
    calls: CallPool | None = None

    def warm_up(self) -> None:
        """Compiles everything, and starts the threads; `stop` ends them. Sets the switch interval of the process."""
        sys.setswitchinterval(SWITCH_S)
        self.engine.warm_up()
        if self.calls is not None:
            self.calls.warm_up()

    def stop(self) -> None:
        """Ends all talks and calls, and the threads."""
        if self.calls is not None:
            self.calls.stop()
        self.engine.stop()


def leave_a_core() -> None:
    """Has XLA's CPU backend, which is still to be started, compute with one thread less than there are cores.

    A product that is shared out waits for its slowest thread, which is the one whose core serves the sockets.
    """
    os.environ.setdefault("PJRT_NPROC", str(max(1, cores() - 1)))


def start(config: StartConfig) -> Started:
    """Reads a model, and returns the server of it.

    Raises:
      InputError: the model, its codec or the detector cannot be read, or the folders cannot be written to.
    """
    for _, folder in config.adapters:
        find_adapter(folder)  # one that is not there is told before the model is read
    metrics = Metrics()
    detector = detector_factory(config.detector, config.detector_file)
    forms = config.quantize, config.quantize_tables
    model = Model.load(config.checkpoint, config.codec, *forms, config.adapter, config.any_base)
    if config.codec is not None:
        _ = model.codec  # a codec that was asked for and is not there
    context = config.context or min(MOST_CONTEXT, model.config.context)
    beside = {name: model.adapter(folder, config.any_base) for name, folder in config.adapters}
    engine = make_engine(model, config.model_name, EngineConfig(slots=config.slots, context=context), metrics, beside)
    shared, recorded = (
        None if name is None else _writable(Path(name)) for name in (config.shared_dir, config.record_dir)
    )
    calls = None
    if model.config.duplex is not None and engine.voices:
        calls = CallPool(model, PoolConfig(config.calls, config.roll_after), metrics)
    server = Server(engine, config.server, detector, metrics, shared, recorded, calls, Rounds(detector.hear))
    return Started(make_app(server, questions=questions(Path(config.checkpoint))), engine, detector.name, calls)


def questions(checkpoint: Path) -> Sequence[Question]:
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


def _writable(folder: Path) -> Path:
    """Makes a folder that only its owner can read, unless it is there."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / ".write").touch()
        (folder / ".write").unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to: {error.strerror}") from None
    return folder
