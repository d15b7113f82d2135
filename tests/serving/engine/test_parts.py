"""Pieces of prompts, the queue, and the voices."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from talking import asks, request, said

from fac_jax.api import Model
from fac_jax.codec.cosyvoice import flow, vocoder_windows
from fac_jax.codec.cosyvoice.codec import CosyVoice3
from fac_jax.serving.engine.config import EngineConfig, kept_sizes
from fac_jax.serving.engine.prompts import pieces
from fac_jax.serving.engine.talks import Made, Talk
from fac_jax.serving.engine.voices import Voices, names_of
from fac_jax.serving.engine.waiting import Waiting

NOBODY: Any = None  # a conversation that is not looked at


def nothing(*_: Any) -> None: ...


def talk(asked_at: float = 0.0, **options: Any) -> Talk:
    wanted = request(said(asks("a")), **options)
    return Talk(wanted, NOBODY, Made(5), asked_at, wanted.session)


def test_pieces_cover_a_prompt_and_fit_their_programs() -> None:
    rng = random.Random(0)
    for _ in range(500):
        length = rng.randrange(64, 400)
        sizes = EngineConfig(prompts=(16, 64, 128)).sizes(length)
        total = rng.randrange(1, length + 1)
        kept = rng.randrange(total)
        found = pieces(total, kept, sizes, length)
        assert found[0].start <= kept and found[-1].end == total
        for one in found:
            assert 0 < one.end - one.start <= one.size and one.start >= 0 and one.start + one.size <= length
            assert one.size in sizes
        for one, following in zip(found, found[1:], strict=False):
            assert following.start <= one.end - 1 and one.size == sizes[-1]


def test_sizes_are_few() -> None:
    assert EngineConfig().sizes(2048) == (32, 64, 128, 256, 512) and EngineConfig().sizes(100) == (32, 64, 100)
    assert kept_sizes(256) == (64, 128, 256) and kept_sizes(200) == (64, 128, 200) and kept_sizes(40) == (40,)


def test_sessions_take_turns() -> None:
    waiting = Waiting(5.0)
    many, others = [talk(session="many") for _ in range(3)], [talk(session="one"), talk()]
    for one in (*many, *others):
        waiting.add(one)
    assert len(waiting) == 5
    assert [waiting.next() for _ in range(5)] == [many[0], *others, *many[1:]]
    assert waiting.next() is None and len(waiting) == 0
    early, late = talk(1.0, session="a"), talk(2.0, session="a")
    for one in (early, late):
        waiting.add(one)
    assert waiting.expired(6.0) == [] and waiting.expired(6.5) == [early]
    waiting.remove(late)
    assert len(waiting) == 0 and waiting.next() is None


def voiced(voices: Voices, ids: dict[Talk, np.ndarray]) -> dict[Talk, np.ndarray]:
    """Speaks ids that come piece by piece."""
    waves: dict[Talk, list[np.ndarray]] = {one: [] for one in ids}
    left = {one: list(np.array_split(some, 5)) for one, some in ids.items()}
    while left or voices.keys():
        for one in list(left):
            voices.push(one, left[one].pop(0))
            if not left[one]:
                assert voices.end(one)
                del left[one]
        for said_now in voices.speak():
            waves[said_now.talk].append(said_now.wave)
    assert not voices.waiting and not voices.end(talk())
    return {one: np.concatenate(parts) for one, parts in waves.items()}


@pytest.mark.slow
def test_voices_speak_side_by_side_and_compile_nothing(
    voice_folder: Path, monkeypatch: pytest.MonkeyPatch, figures
) -> None:
    codec = CosyVoice3.load(voice_folder)
    speakers = {**codec.speakers(), "other": np.random.default_rng(5).standard_normal(192).astype(np.float32)}
    monkeypatch.setattr(codec, "speakers", lambda: speakers)
    names = names_of(codec)
    assert names == (codec.description.speaker, "other")
    voices = Voices(codec, 2, nothing)
    voices.warm_up()
    programs = [flow.sample_chunks, vocoder_windows._apply]
    sizes = [program._cache_size() for program in programs]
    talks = [talk(voice=names[0]), talk(voice=names[-1]), talk()]
    ids = [np.random.default_rng(n).integers(0, codec.units, n).astype(np.int32) for n in (45, 20, 33)]
    together = voiced(voices, dict(zip(talks, ids, strict=True)))
    for one, some in zip(talks, ids, strict=True):
        expected = voiced(voices, {one: some})[one]
        assert len(expected) == len(some) * codec.voice.token_samples
        figures("voices of the engine, max abs diff", np.abs(together[one] - expected).max(), 1e-3)
    other = voiced(voices, {talk(voice=names[0]): ids[1]}).popitem()[1]
    assert np.abs(other - together[talks[1]]).max() > 1e-2  # each has the voice that it asked for
    assert [program._cache_size() for program in programs] == sizes


@pytest.mark.parametrize("ids", [4, 9])
def test_what_was_asked_of_a_stream_that_is_stopped_is_not_taken(talks: Model, ids: int) -> None:
    voices = Voices(talks.codec, 1, nothing)
    first, second = talk(), talk()
    for one in (first, second):
        voices.push(one, np.zeros(ids, np.int32))
        voices.end(one)
    voices.ask()
    assert voices.asked == [first] and voices.waiting
    voices.stop(first)
    assert not voices.asked and not voices.take() and voices.waiting
    heard = []
    while voices.waiting:
        heard += voices.speak()
    assert {one.talk for one in heard} == {second} and [one.last for one in heard][-1:] == [True]
    assert sum(one.wave.size for one in heard) == ids * 640


@pytest.mark.parametrize("steps", [2, 3])
def test_a_stream_that_is_stopped_frees_its_place(voice_folder: Path, steps: int) -> None:
    voices = Voices(CosyVoice3.load(voice_folder), 1, nothing)
    first, second = talk(), talk()
    for one in (first, second):
        voices.push(one, np.zeros(20, np.int32))
    for _ in range(steps):
        voices.speak()
    assert not voices.waiting  # the second has no place
    voices.stop(first)
    assert voices.waiting
    assert {one.talk for one in voices.speak()} == {second}
