"""Streams that are spoken together: the samples of each are those that it has alone."""

import random
from typing import Any

import numpy as np
import pytest
from golden_codec import ids, models, speaker, voice

from fac_jax.codec.base import SpeechPool
from fac_jax.codec.cosyvoice import flow, vocoder_windows
from fac_jax.codec.cosyvoice.pool import VoicePool
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.types import InputError

LIMIT = 1e-3
LENGTHS = (12, 5, 18, 1, 7, 0)


def spoken(pool: SpeechPool, asked: list[np.ndarray], seed: int) -> list[np.ndarray]:
    """Speaks streams of ids, each of which begins where a place is free and comes in pieces of its own."""
    rng = random.Random(seed)
    waiting, running = list(enumerate(asked)), {}
    waves: list[list[np.ndarray]] = [[] for _ in asked]
    while waiting or running:
        while waiting and (place := pool.start()) is not None:
            number, tokens = waiting.pop(0)
            running[place] = (number, list(np.array_split(tokens, rng.randint(1, 6))))
        for place, (_, pieces) in running.items():
            if pieces and rng.random() < 0.7:
                pool.push(place, pieces.pop(0))
                if not pieces:
                    pool.end(place)
        while made := pool.speak():
            for one in made:
                waves[running[one.place][0]].append(one.wave)
                if one.last:
                    del running[one.place]
    return [np.concatenate(parts) for parts in waves]


def test_streams_of_the_voice_are_those_alone(figures) -> None:
    whole = voice(hop=5, left=3)
    asked = [ids(length) for length in LENGTHS]
    alone = []
    for tokens in asked:
        stream = whole.stream(speaker())
        alone.append(np.concatenate([stream.push(tokens), stream.finish()]))
    pool = VoicePool(whole, speaker(), 4)
    programs = [flow.sample_chunks, vocoder_windows._apply]
    worst, compiled = 0.0, None
    for seed in range(3):
        together = spoken(pool, asked, seed)
        assert [len(wave) for wave in together] == [length * whole.token_samples for length in LENGTHS]
        worst = max(worst, *(np.abs(a - b).max(initial=0) for a, b in zip(together, alone, strict=True)))
        sizes = [program._cache_size() for program in programs]
        assert seed < 2 or sizes == compiled  # one, two and four streams at a time
        compiled = sizes
    figures("voice, streams in a pool of four, max abs diff", worst, LIMIT)


def test_a_place_that_was_stopped_begins_anew_and_voices_do_not_mix(figures) -> None:
    whole, tokens = voice(hop=5, left=3), ids(20)
    other = np.random.default_rng(5).standard_normal(192).astype(np.float32)
    pool = VoicePool(whole, speaker(), 2)
    left = pool.start()
    assert left == 0
    pool.push(left, tokens[::-1])
    pool.speak()
    pool.stop(left)
    places = {pool.start(): speaker(), pool.start(other): other}
    assert sorted(places) == [0, 1] and pool.start() is None
    waves: dict[Any, list[np.ndarray]] = {0: [], 1: []}
    for place in places:
        pool.push(place, tokens)
        pool.end(place)
    while made := pool.speak():
        for one in made:
            waves[one.place].append(one.wave)
    for place, who in places.items():
        stream = whole.stream(who)
        alone = np.concatenate([stream.push(tokens), stream.finish()])
        figures(f"voice {place} of a pool, max abs diff", np.abs(np.concatenate(waves[place]) - alone).max(), LIMIT)
    assert np.abs(np.concatenate(waves[0]) - np.concatenate(waves[1])).max() > 10 * LIMIT


def test_streams_of_units_are_those_alone() -> None:
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1
    codec = UnitCodec.fit([noise], UnitCodecConfig(units=16, iterations=2))
    asked = [np.random.default_rng(length).integers(0, 16, length) for length in LENGTHS]
    for seed in range(3):
        for wave, tokens in zip(spoken(codec.pool(3), asked, seed), asked, strict=True):
            stream = codec.stream()
            np.testing.assert_array_equal(wave, np.concatenate([stream.push(tokens), stream.finish()]))


@pytest.mark.parametrize("place", [0, 3, -1])
def test_a_place_where_nothing_is_spoken_is_refused(place: int) -> None:
    for pool in (VoicePool(voice(hop=5, left=3), speaker(), 2), _units(2)):
        with pytest.raises(InputError, match=f"nothing is spoken in place {place} of 2"):
            pool.push(place, np.zeros(1, np.int32))
        at = pool.start()
        assert at == 0
        with pytest.raises(InputError, match=f"speech id {models()[0][0].vocab_size} is outside"):
            pool.push(at, np.array([models()[0][0].vocab_size]))
        pool.stop(at)


def _units(places: int) -> SpeechPool:
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32) * 0.1
    return UnitCodec.fit([noise], UnitCodecConfig(units=16, iterations=2)).pool(places)
