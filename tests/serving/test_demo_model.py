"""The model that ships with the package hears voices that it was not trained on."""

import numpy as np
import pytest

import fac_jax
from data_pipelines.worlds.arithmetic import TEMPLATES, reply, say, split_pairs
from data_pipelines.worlds.espeak import Voice, speak
from experiments.configs.quickstart_whisper import SLOWER
from fac_jax.api import Model
from fac_jax.demo import MODEL

LEAST = 0.9  # share of right answers; the report of its training has 0.991 in text
EVERY = 3  # held-out pairs that are asked


@pytest.fixture(scope="module")
def model() -> Model:
    return fac_jax.load(MODEL)


def test_held_out_questions_by_unheard_voices_are_answered(model: Model) -> None:
    pairs = split_pairs(SLOWER)["test"][::EVERY]
    voices = [
        Voice(name, rate, pitch) for name, rate, pitch in zip(SLOWER.test_voices, (170, 190), (45, 55), strict=True)
    ]
    asked = [(TEMPLATES[n % len(TEMPLATES)].format(say(pair)), voices[n % 2]) for n, pair in enumerate(pairs)]
    waves = [speak(text, voice) for text, voice in asked]
    replies = model.respond(waves, mode="s2t")
    right = [answer.text == reply(pair) for answer, pair in zip(replies, pairs, strict=True)]
    assert np.mean(right) >= LEAST, [answer.text for answer in replies]


def test_it_is_small_and_says_whose_parts_it_has() -> None:
    assert sum(file.stat().st_size for file in MODEL.rglob("*") if file.is_file()) < 20e6
    assert "Copyright (c) 2022 OpenAI" in (MODEL / "NOTICE").read_text()
