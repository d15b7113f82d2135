"""Compares the codec with recorded runs of the release: every recorded quantity against its limit.

A folder of recordings holds `s3tokenizer/`, `flow/` and `hift/`, each with `weights.safetensors` (torch names),
`config.json` (constructor values) and `io.npz`. It may hold `token2wav/`, which uses the weights of the other two.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np

from fac_jax.codec.cosyvoice.config import pieces
from fac_jax.codec.cosyvoice.release_stream import ReleaseStream, release_offline
from fac_jax.codec.cosyvoice.token2wav import PIECE, SHORT, SpeechConfig, Token2Wav
from fac_jax.evaluation.parity import networks
from fac_jax.evaluation.parity.model import Figure, channels_last, difference, unequal
from fac_jax.evaluation.parity.recording import Recording, read_recording
from fac_jax.precision import EXACT, products
from fac_jax.types import InputError

SPOKEN_LIMIT: Final = 1e-3  # limit of waves from tokens, where the errors of all parts add up
DRAWN: Final = r"RandomState\((\d+)\)\.(standard_normal|random_sample)\(\(([\d,]+)\)\)"


def compare_speech(recording: Recording) -> Iterator[Figure]:
    """Yields figures of offline speech, short and long, and of the streaming of the web demo."""
    arrays = recording.arrays
    flow_noise, source_noise = _drawn(recording, "flow_noise"), _drawn(recording, "sine_noise")
    for name, ours in (("flow_noise_head", flow_noise), ("sine_noise_head", source_noise)):
        theirs = arrays[name]
        yield difference(name, ours[tuple(map(slice, theirs.shape))], theirs, 0.0)
    flow, vocoder = (read_recording(recording.folder.parent / name) for name in ("flow", "hift"))
    voice = Token2Wav(
        networks.recorded_flow(flow),
        networks.recorded_vocoder(vocoder),
        (channels_last(flow_noise)[0], source_noise[0]),
        SpeechConfig(phase="release"),
    )
    speaker = arrays["embedding"][0]
    ids = arrays["tokens"].astype(np.int32)
    yield _spoken("offline_wav", voice.offline(ids, speaker), arrays["offline_wav"])
    yield _spoken("offline_hop15_wav", release_offline(voice, ids, speaker), arrays["offline_hop15_wav"])

    demo = ReleaseStream(voice, speaker)
    wave = np.concatenate([demo.push(ids), demo.finish()])
    yield unequal("numbers of demo_calls", np.array(demo.calls), arrays["demo_calls"])
    yield _spoken("demo_wav, release_quirks", wave, arrays["demo_wav"])

    long = arrays["long_tokens"].astype(np.int32)
    cuts = [len(piece) for piece in pieces(long, PIECE, SHORT)]
    yield unequal("long_segments", np.array(cuts), arrays["long_segments"])
    wave = voice.offline(long, speaker)
    yield unequal("long_wav_len", np.array(len(wave)), arrays["long_wav_len"])
    head, seam = arrays["long_wav_head"], arrays["long_wav_seam"]
    yield _spoken("long_wav_head", wave[: head.shape[1]], head)
    middle, half = cuts[0] * voice.token_samples, seam.shape[1] // 2
    yield _spoken("long_wav_seam", wave[middle - half : middle + half], seam)


def _spoken(name: str, ours: np.ndarray, theirs: np.ndarray) -> Figure:
    return difference(name, ours[None], theirs, SPOKEN_LIMIT)


def _drawn(recording: Recording, key: str) -> np.ndarray:
    seed, distribution, shape = recording.noted(key, DRAWN)
    draw = getattr(np.random.RandomState(int(seed)), distribution)
    return draw(tuple(map(int, shape.split(",")))).astype(np.float32)


PARTS: Final[Mapping[str, Callable[[Recording], Iterator[Figure]]]] = {
    "s3tokenizer": networks.compare_tokenizer,
    "flow": networks.compare_flow,
    "hift": networks.compare_vocoder,
    "token2wav": compare_speech,
}


def compare_codec(folder: Path) -> Iterator[Figure]:
    """Yields all figures of a folder of recordings, computed in float32 at the highest precision.

    Raises:
      InputError: the folder has no recording, or a recording is damaged or lacks an array.
    """
    known = [name for name in PARTS if (folder / name).is_dir()]
    if not known:
        raise InputError(f"{folder} holds none of {', '.join(PARTS)}")
    for name in known:
        recording = read_recording(folder / name)
        try:
            found = compare_part(name, recording)
        except InputError as error:
            message = str(error)
            named = message if message.startswith(str(folder)) else f"{folder / name}: {message}"
            raise InputError(named) from error
        yield from (dataclasses.replace(figure, name=f"{name}: {figure.name}") for figure in found)


def compare_part(name: str, recording: Recording) -> list[Figure]:
    """Returns the figures of one of `PARTS`, computed at the highest precision."""
    with products(EXACT):
        return list(PARTS[name](recording))
