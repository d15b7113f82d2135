"""How fast the voice is at full size, with random weights.

python -m experiments.benchmark_codec [--seconds=10] [--minutes=5]

Every figure is the second run of its program. CPU seconds are those of all threads of the process: where a machine is
shared, they say more than wall seconds.
"""

import resource
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import flags

from experiments import launch
from experiments.measure import machine
from fac_jax.codec.noise import release_noise
from fac_jax.codec.token2wav import Speaker, SpeechConfig, Token2Wav
from fac_jax.codec.tokenize import RATE, WaveTokenizer
from fac_jax.codec.voice import PARTS

SECONDS = flags.DEFINE_float("seconds", 10.0, "Of speech.", 1.0)
MINUTES = flags.DEFINE_float("minutes", 0.0, "Of speech through the vocoder and the tokenizer, for their memory.", 0.0)
PART = flags.DEFINE_list("parts", ["tokenizer", "offline", "stream"], "What is measured.")
HOP = flags.DEFINE_integer("hop", 15, "Tokens of a chunk.", 1)
LEFT = flags.DEFINE_integer("left", 14, "Chunks before its own that a chunk hears.", 1)

TOKEN_RATE = 25  # Hz


def params_of(part: str) -> tuple[Any, Any]:
    """Released sizes and random parameters of a part, on the host."""
    config = PARTS[part].config()
    shapes = jax.eval_shape(lambda: PARTS[part].init(config, jax.random.key(0)))
    rng = np.random.default_rng(0)
    draw = lambda leaf: rng.standard_normal(leaf.shape, np.float32) / np.sqrt(max(leaf.shape[-1], 1))  # noqa: E731
    return config, jax.tree.map(draw, shapes)


def measured(name: str, audio: float, run: Callable[[], Any], repeats: int = 2) -> None:
    """Prints the seconds of the last of some runs, and of the first, which compiles."""
    times = []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        run()
        times.append((time.perf_counter() - wall, time.process_time() - processor))
    (first, _), (wall, processor) = times[0], times[-1]
    factors = f"real-time factor {wall / audio:.2f}, of CPU seconds {processor / audio:.2f}"
    print(f"{name}: {audio:.1f} s of audio in {wall:.1f} s, {processor:.1f} CPU s: {factors}; first run {first:.1f} s")
    print(f"  greatest memory so far {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB", flush=True)


def main() -> None:
    """The command."""
    print(machine())
    rng, seconds = np.random.default_rng(0), SECONDS.value
    long = MINUTES.value * 60
    if "tokenizer" in PART.value:
        tokenizer = WaveTokenizer(*params_of("tokenizer"))
        wave = rng.standard_normal(int(max(seconds, long) * RATE)).astype(np.float32) * 0.1
        measured("tokenizer", seconds, lambda: tokenizer([wave[: int(seconds * RATE)]]))
        if long:
            measured("tokenizer, long", long, lambda: tokenizer([wave]), repeats=1)
    if {"offline", "stream"} & set(PART.value):
        config = SpeechConfig(hop=HOP.value, left=LEFT.value)
        voice = Token2Wav(params_of("flow"), params_of("vocoder"), release_noise(), config)
        speak(voice, rng, seconds, long)


def speak(voice: Token2Wav, rng: np.random.Generator, seconds: float, long: float) -> None:
    """Measures speech from tokens."""
    speaker = Speaker(rng.standard_normal(192).astype(np.float32))
    ids = rng.integers(0, voice.flow.vocab_size, int(seconds * TOKEN_RATE)).astype(np.int32)
    if "offline" in PART.value:
        measured("flow", seconds, lambda: voice.mel(ids, speaker))
        mel = rng.standard_normal((2 * len(ids), voice.flow.mel_bins)).astype(np.float32)
        measured("vocoder", seconds, lambda: voice.wave(mel))
        if long:
            frames = int(long * TOKEN_RATE) * voice.flow.token_frames
            mel = rng.standard_normal((frames, voice.flow.mel_bins)).astype(np.float32)
            measured("vocoder, long", long, lambda: voice.wave(mel), repeats=1)
    if "stream" in PART.value:
        stream, hop = voice.stream(speaker), voice.config.hop
        chunks = (rng.integers(0, voice.flow.vocab_size, hop).astype(np.int32) for _ in range(1000))
        stream.push(next(chunks)[: voice.flow.lookahead])
        measured("stream, a chunk", hop / TOKEN_RATE, lambda: stream.push(next(chunks)), repeats=3)


if __name__ == "__main__":
    launch.run(main)
