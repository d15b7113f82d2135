"""Speed and memory of the released voice at full size, with random weights.

Every figure is that of the second run of its program, except for audio of whole minutes, which runs once. CPU seconds
are those of all threads of the process: on a shared machine they say more than wall seconds. Memory is the greatest of
the process so far, so what minutes need beyond the seconds before them shows as growth.
"""

import dataclasses
import functools
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from fac_jax.audio.mel import RATE
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.codec.cosyvoice.codec import PARTS
from fac_jax.codec.cosyvoice.config import FlowConfig
from fac_jax.codec.cosyvoice.noise import release_noise
from fac_jax.codec.cosyvoice.s3_tokenizer import WaveTokenizer
from fac_jax.codec.cosyvoice.token2wav import SpeechConfig, Token2Wav
from fac_jax.types import Params

KINDS = ("tokenizer", "offline", "stream")


@dataclasses.dataclass(frozen=True)
class Speaking:
    """How the voice is measured; the options of `experiments.benchmark` describe the fields."""

    parts: Sequence[str] = KINDS
    seconds: float = 10.0
    minutes: Sequence[float] = ()
    hop: int = 15
    left: int = 14
    steps: int = FlowConfig().steps


def codec_figures(speaking: Speaking) -> dict[str, dict[str, float]]:
    """Measures the parts of the voice; returns the figures by part and seconds of audio."""
    figures: dict[str, dict[str, float]] = {}
    long = [60 * minutes for minutes in speaking.minutes]
    if "tokenizer" in speaking.parts:
        figures |= _tokenizer(speaking.seconds, long)
    if {"offline", "stream"} & set(speaking.parts):
        figures |= _voice(random_voice(speaking), speaking.parts, speaking.seconds, long)
    return figures


def random_voice(speaking: Speaking) -> Token2Wav:
    """Returns the voice at full size with random weights."""
    flow, vocoder = FlowConfig(steps=speaking.steps), PARTS["vocoder"].config()
    return Token2Wav(
        (flow, random_params("flow", flow)),
        (vocoder, random_params("vocoder", vocoder)),
        release_noise(),
        SpeechConfig(hop=speaking.hop, left=speaking.left),
    )


def random_params(part: str, config: Any) -> Params:
    """Returns random float32 parameters of a part of the voice, on the host."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.standard_normal(leaf.shape, np.float32) / np.sqrt(max(leaf.shape[-1], 1))

    return jax.tree.map(draw, jax.eval_shape(lambda: PARTS[part].init(config, jax.random.key(0))))


def _measured(name: str, audio: float, run: Callable[[], Any], repeats: int = 2) -> dict[str, dict[str, float]]:
    """Measures the last of `repeats` runs on `audio` seconds of audio, and the seconds of the first."""
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    wall, processor = times[-1]
    return {
        f"{name}, {audio:.1f} s": {
            "seconds": wall,
            "real-time factor": wall / audio,
            "CPU seconds / second": processor / audio,
            "first run, seconds": times[0][0],
            "greatest memory, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    }


def _tokenizer(seconds: float, long: Iterable[float]) -> dict[str, dict[str, float]]:
    """Measures the tokenizer on some seconds of audio, then on longer ones."""
    config = PARTS["tokenizer"].config()
    tokenizer, rng = WaveTokenizer(config, random_params("tokenizer", config)), np.random.default_rng(0)
    figures: dict[str, dict[str, float]] = {}
    for repeats, audio in ((2, seconds), *((1, length) for length in long)):
        wave = rng.standard_normal(int(audio * RATE)).astype(np.float32) * 0.1
        figures |= _measured("tokenizer", audio, lambda wave=wave: tokenizer([wave]), repeats)
    return figures


def _voice(
    voice: Token2Wav, parts: Sequence[str], seconds: float, long: Iterable[float]
) -> dict[str, dict[str, float]]:
    """Measures synthesis on some seconds of audio, then on longer ones."""
    rng, figures = np.random.default_rng(0), {}
    speaker, hop = rng.standard_normal(192).astype(np.float32), voice.config.hop

    def ids(audio: float) -> np.ndarray:
        return rng.integers(0, voice.flow.vocab_size, int(audio * TOKEN_RATE)).astype(np.int32)

    def streamed(tokens: np.ndarray) -> Iterator[np.ndarray]:
        stream = voice.stream(speaker)
        yield from (stream.push(tokens[i : i + hop]) for i in range(0, len(tokens), hop))
        yield stream.finish()

    if "offline" in parts:
        tokens = ids(seconds)
        figures |= _measured("flow", seconds, lambda: voice.mel(tokens, speaker))
        mel = rng.standard_normal((len(tokens) * voice.flow.token_frames, voice.flow.mel_bins)).astype(np.float32)
        figures |= _measured("vocoder", seconds, lambda: voice.wave(mel))
        for audio in long:
            figures |= _measured("offline", audio, lambda audio=audio: voice.offline(ids(audio), speaker), 1)
    if "stream" in parts:
        stream = voice.stream(speaker)
        stream.push(ids(voice.flow.lookahead / TOKEN_RATE))
        chunk = hop / TOKEN_RATE
        figures |= _measured("stream, a chunk", chunk, functools.partial(stream.push, ids(chunk)), 3)
        del stream  # frees its keys and values before the next stream makes its own
        for audio in long:
            figures |= _measured("stream", audio, lambda audio=audio: sum(map(len, streamed(ids(audio)))), 1)
    return figures
