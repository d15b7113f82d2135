"""How fast the voice is at full size, and how much memory it takes, with random weights.

python -m experiments.benchmarks.benchmark_codec [--parts=tokenizer,offline,stream] [--seconds=10] \
    [--minutes=1 --minutes=5]

Every figure is the second run of its program, but of whole minutes, which run once behind it. CPU seconds are those of
all threads of the process: where a machine is shared, they say more than wall seconds. Memory is the greatest of the
process so far: what minutes need beyond the seconds before them shows as growth.
"""

import functools
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments.benchmarks.measure import machine
from fac_jax import cli
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.codec.cosyvoice.config import FlowConfig
from fac_jax.codec.cosyvoice.noise import release_noise
from fac_jax.codec.cosyvoice.token2wav import Speaker, SpeechConfig, Token2Wav
from fac_jax.codec.cosyvoice.tokenize import RATE, WaveTokenizer
from fac_jax.codec.cosyvoice.voice import PARTS
from fac_jax.types import InputError, Params

KINDS = ("tokenizer", "offline", "stream")
KIND = flags.DEFINE_list("parts", list(KINDS), "What is measured.")
SECONDS = flags.DEFINE_float("seconds", 10.0, "Of audio.", 1.0)
MINUTES = flags.DEFINE_multi_float("minutes", [], "Of audio that is run once, for its memory; in ascending order.", 0.1)
HOP = flags.DEFINE_integer("hop", 15, "Tokens of a chunk of a stream.", 1)
LEFT = flags.DEFINE_integer("left", 14, "Chunks before its own that a chunk hears.", 1)
STEPS = flags.DEFINE_integer("steps", FlowConfig().steps, "Euler steps of the flow: fewer to see its memory sooner.", 1)


def random_params(part: str, config: Any) -> Params:
    """Random parameters of a part, on the host."""
    rng = np.random.default_rng(0)

    def draw(leaf: jax.ShapeDtypeStruct) -> np.ndarray:
        return rng.standard_normal(leaf.shape, np.float32) / np.sqrt(max(leaf.shape[-1], 1))

    return jax.tree.map(draw, jax.eval_shape(lambda: PARTS[part].init(config, jax.random.key(0))))


def measured(name: str, audio: float, run: Callable[[], Any], repeats: int = 2) -> None:
    """Prints how long the last of some runs of `audio` seconds took, how long the first, and the memory so far."""
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    (first, _), (wall, processor) = times[0], times[-1]
    compiled = f"; first run {first:.1f} s" if repeats > 1 else ""
    print(
        f"{name}: {audio:.1f} s of audio in {wall:.1f} s, {processor:.1f} CPU s: real-time factor {wall / audio:.2f}, "
        f"of CPU seconds {processor / audio:.2f}{compiled}; "
        f"greatest memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.3f} GB",
        flush=True,
    )


def main() -> None:
    """The command."""
    unknown = set(KIND.value) - set(KINDS)
    if unknown:
        raise InputError(f"--parts: {', '.join(sorted(unknown))} is none of {', '.join(KINDS)}")
    print(machine())
    if "tokenizer" in KIND.value:
        read(SECONDS.value, [60 * minutes for minutes in MINUTES.value])
    if {"offline", "stream"} & set(KIND.value):
        flow = FlowConfig(steps=STEPS.value)
        vocoder = PARTS["vocoder"].config()
        voice = Token2Wav(
            (flow, random_params("flow", flow)),
            (vocoder, random_params("vocoder", vocoder)),
            release_noise(),
            SpeechConfig(hop=HOP.value, left=LEFT.value),
        )
        speak(voice, SECONDS.value, [60 * minutes for minutes in MINUTES.value])


def read(seconds: float, long: Iterable[float]) -> None:
    """Measures waves to tokens, of so many seconds, then of the longer ones."""
    config = PARTS["tokenizer"].config()
    tokenizer, rng = WaveTokenizer(config, random_params("tokenizer", config)), np.random.default_rng(0)
    for repeats, audio in ((2, seconds), *((1, length) for length in long)):
        wave = rng.standard_normal(int(audio * RATE)).astype(np.float32) * 0.1
        measured("tokenizer", audio, lambda wave=wave: tokenizer([wave]), repeats)


def speak(voice: Token2Wav, seconds: float, long: Iterable[float]) -> None:
    """Measures tokens to waves, of so many seconds, then of the longer ones."""
    rng = np.random.default_rng(0)
    speaker, hop = Speaker(rng.standard_normal(192).astype(np.float32)), voice.config.hop

    def ids(audio: float) -> np.ndarray:
        return rng.integers(0, voice.flow.vocab_size, int(audio * TOKEN_RATE)).astype(np.int32)

    def streamed(tokens: np.ndarray) -> Iterator[np.ndarray]:
        stream = voice.stream(speaker)
        yield from (stream.push(tokens[i : i + hop]) for i in range(0, len(tokens), hop))
        yield stream.finish()

    if "offline" in KIND.value:
        tokens = ids(seconds)
        measured("flow", seconds, lambda: voice.mel(tokens, speaker))
        mel = rng.standard_normal((len(tokens) * voice.flow.token_frames, voice.flow.mel_bins)).astype(np.float32)
        measured("vocoder", seconds, lambda: voice.wave(mel))
        for audio in long:
            measured("offline", audio, lambda audio=audio: voice.offline(ids(audio), speaker), 1)
    if "stream" in KIND.value:
        stream = voice.stream(speaker)
        stream.push(ids(voice.flow.lookahead / TOKEN_RATE))
        measured("stream, a chunk", hop / TOKEN_RATE, functools.partial(stream.push, ids(hop / TOKEN_RATE)), 3)
        del stream  # its keys and values are not those of the next
        for audio in long:
            measured("stream", audio, lambda audio=audio: sum(map(len, streamed(ids(audio)))), 1)


if __name__ == "__main__":
    cli.run(main)
