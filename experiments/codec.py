"""Encodes recordings to ids of a codec, and decodes ids to a waveform.

python -m experiments.codec encode a.wav [b.wav ..] --codec=DIR [--out=FOLDER]
python -m experiments.codec decode ids.npy a.wav --codec=DIR [--speaker=NAME] [--how=stream]
"""

import time
from pathlib import Path

import numpy as np
from absl import flags

from data_pipelines.paths import check_output, check_output_file
from fac_jax import cli
from fac_jax.audio import io
from fac_jax.codec.base import check_ids, load_codec
from fac_jax.codec.cosyvoice.codec import CosyVoice3
from fac_jax.codec.cosyvoice.release_stream import ReleaseStream
from fac_jax.codec.cosyvoice.token2wav import Speaker
from fac_jax.progress import shown
from fac_jax.types import InputError

CODEC = flags.DEFINE_string("codec", None, "Folder of a codec.", required=True)
OUT = flags.DEFINE_string("out", None, "encode: folder of NAME.npy of every recording; ids are printed if absent.")
SPEAKER = flags.DEFINE_string("speaker", None, "decode: the speaker; the codec's default if absent.")
HOW = flags.DEFINE_enum(
    "how",
    "offline",
    ["offline", "stream", "release"],
    "decode: in pieces of 30 s, as a stream, or as the release's web demo.",
)


def encode(*files: str) -> None:
    """Prints the ids of recordings, or saves them."""
    if OUT.value is not None:
        check_output("--out", OUT.value)
    codec = load_codec(CODEC.value)
    waves = [io.load(file, codec.heard_rate) for file in shown("recordings")(files)]
    try:
        found = codec.encode_batch(waves)
    except InputError as error:
        raise InputError(f"{', '.join(files)}: {error}") from error
    for file, ids in zip(files, found, strict=True):
        if OUT.value is None:
            print(f"{file}: {' '.join(map(str, ids))}")
            continue
        out = Path(OUT.value) / f"{Path(file).stem}.npy"
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, ids)
        print(f"{out}: {len(ids)} ids")


def load_voice(folder: str) -> CosyVoice3:
    """Loads the released voice of a folder.

    Raises:
      InputError: the folder holds no codec, or one that has no speakers.
    """
    codec = load_codec(folder)
    if not isinstance(codec, CosyVoice3):
        raise InputError(f"{folder} is not a released voice; make one with python -m experiments.convert codec SRC DST")
    return codec


def read_ids(file: str, units: int) -> np.ndarray:
    """Reads ids int32 `[T]` from a file.

    Raises:
      InputError: the file is missing, is not an array of whole numbers `[T]`, or holds ids outside the codec.
    """
    try:
        ids = np.load(file)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: not an array (.npy): {error}") from error
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{file} must hold whole numbers [T]")
    try:
        return check_ids(ids, units)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def speak(codec: CosyVoice3, ids: np.ndarray, speaker: Speaker, how: str) -> np.ndarray:
    """Synthesises ids `[T]`; returns the wave float32 `[N]` at the codec's rate."""
    if how == "offline":
        return codec.voice.offline(ids, speaker)
    stream = codec.voice.stream(speaker) if how == "stream" else ReleaseStream(codec.voice, speaker)
    return np.concatenate([stream.push(ids), stream.finish()])


def decode(ids_file: str, out: str) -> None:
    """Writes the wave of the ids in `ids_file` (.npy) to `out` (.wav)."""
    check_output_file("OUT", out, ".wav")
    codec = load_voice(CODEC.value)
    ids = read_ids(ids_file, codec.units)
    speakers = codec.speakers()
    name = SPEAKER.value or codec.description.speaker
    if name not in speakers:
        raise InputError(f"--speaker={name}: the codec has {', '.join(speakers)}")
    start = time.perf_counter()
    wave = speak(codec, ids, speakers[name], HOW.value)
    seconds, spoken = time.perf_counter() - start, len(wave) / codec.rate
    io.save_wav(out, wave, codec.rate)
    print(f"{out}: {len(ids)} ids, {spoken:.2f} s as {name}, in {seconds:.1f} s with compilation")


COMMANDS = {"encode": encode, "decode": decode}

if __name__ == "__main__":
    cli.run_commands(COMMANDS)
