"""Speaks ids of the real voice.

python -m experiments.vocode --codec DIR --tokens ids.npy --out a.wav [--speaker NAME] [--how stream]
"""

import time
from pathlib import Path

import numpy as np
from absl import flags

from experiments import launch
from fac_jax.audio import io
from fac_jax.codec.base import check_ids, load_codec
from fac_jax.codec.cosyvoice3 import CosyVoice3
from fac_jax.codec.release_stream import ReleaseStream
from fac_jax.codec.token2wav import Speaker
from fac_jax.types import InputError

CODEC = flags.DEFINE_string("codec", None, "Folder that `experiments.convert codec` made.", required=True)
TOKENS = flags.DEFINE_string("tokens", None, "Ids (.npy).", required=True)
OUT = flags.DEFINE_string("out", None, "Wave file.", required=True)
SPEAKER = flags.DEFINE_string("speaker", None, "Whose voice; the codec's own if not given.")
HOW = flags.DEFINE_enum(
    "how", "offline", ["offline", "stream", "release"], "Pieces of 30 s, as a stream, or as the release's web demo."
)


def load(folder: str) -> CosyVoice3:
    """The codec of a folder.

    Raises:
      InputError: there is none, or one that has no speakers.
    """
    codec = load_codec(folder)
    if not isinstance(codec, CosyVoice3):
        raise InputError(f"{folder} is no real voice; make one with python -m experiments.convert codec SRC DST")
    return codec


def read_ids(file: str, units: int) -> np.ndarray:
    """Ids int32 `[T]` of a file.

    Raises:
      InputError: the file is missing, no array of whole numbers `[T]`, or holds ids that are none of the codec's.
    """
    try:
        ids = np.load(file)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{file}: no array (.npy): {error}") from error
    if not isinstance(ids, np.ndarray) or ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{file} must hold whole numbers [T]")
    try:
        return check_ids(ids, units)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error


def speak(codec: CosyVoice3, ids: np.ndarray, speaker: Speaker, how: str) -> np.ndarray:
    """The wave of ids `[T]`, float32 `[N]`."""
    if how == "offline":
        return codec.voice.offline(ids, speaker)
    stream = codec.voice.stream(speaker) if how == "stream" else ReleaseStream(codec.voice, speaker)
    return np.concatenate([stream.push(ids), stream.finish()])


def main() -> None:
    """The command."""
    codec = load(CODEC.value)
    ids = read_ids(TOKENS.value, codec.units)
    speakers = codec.speakers()
    name = SPEAKER.value or codec.description.speaker
    if name not in speakers:
        raise InputError(f"--speaker={name}: the codec has {', '.join(speakers)}")
    if not Path(OUT.value).absolute().parent.is_dir():
        raise InputError(f"--out={OUT.value}: its folder does not exist")
    start = time.perf_counter()
    wave = speak(codec, ids, speakers[name], HOW.value)
    seconds, spoken = time.perf_counter() - start, len(wave) / codec.rate
    io.save_wav(OUT.value, wave, codec.rate)
    print(f"{OUT.value}: {len(ids)} ids, {spoken:.2f} s as {name}, in {seconds:.1f} s with compilation")


if __name__ == "__main__":
    launch.run(main)
