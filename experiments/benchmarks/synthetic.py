"""Synthetic conversations of noise with the lengths of real ones, for benchmarks that have no data."""

import tempfile
from pathlib import Path

import numpy as np

from data_pipelines.augment.noise import coloured_noise
from data_pipelines.prepare import flac
from data_pipelines.records.record import Audio, Message, Record
from fac_jax.audio.mel import RATE
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.text.tokenizer import Tokenizer, train_tokenizer

WORDS = "what is heard and said here means nothing but it has the length of words that people speak to each other"
VOCABULARY = 400
SECONDS = (2.0, 30.0)  # of a turn
WORDS_A_SECOND = 2.5


def records(count: int, units: int, seed: int = 0) -> list[Record]:
    """Returns records of one question, pink noise as FLAC bytes, and one spoken reply of random tokens.

    The lengths of both are log-normal around 7 s, within `SECONDS`.

    Args:
      count: number of records.
      units: number of codec ids.
      seed: seed of the draws.
    """
    rng = np.random.default_rng(seed)
    words = WORDS.split()

    def speech() -> tuple[float, str]:
        seconds = float(np.clip(rng.lognormal(np.log(7.0), 0.6), *SECONDS))
        return seconds, " ".join(rng.choice(words, max(1, round(seconds * WORDS_A_SECOND))))

    found: list[Record] = []
    for number in range(count):
        (heard, _), (spoken, reply) = speech(), speech()
        wave = 0.1 * coloured_noise(round(heard * RATE), "pink", rng)
        tokens = rng.integers(0, units, int(spoken * TOKEN_RATE)).astype(np.int32)
        messages = (
            Message("user", audio=Audio(data=flac.encode(wave))),
            Message("assistant", reply, Audio(tokens=tokens)),
        )
        found.append(Record(f"noise{number}", None, messages, None, "synthetic", number + 1))
    return found


def tokenizer() -> Tokenizer:
    """Returns a tokenizer of at most `VOCABULARY` ids, trained on the words of the replies."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tokenizer.json"
        train_tokenizer([WORDS], VOCABULARY, file)
        return Tokenizer.load(file)
