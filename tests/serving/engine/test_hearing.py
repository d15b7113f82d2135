"""What users say: heard while it comes, in a front end, as ids of a codec; and what is refused."""

import asyncio
import copy
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from talking import SETTINGS, TEXTS, WAVES, Asked, answer, answered, asks, request, said

from fac_jax.api import Model
from fac_jax.batching.conversation import StoredFeatures, Turn
from fac_jax.batching.features import as_heard
from fac_jax.serving.engine import TalkEngine, make_engine
from fac_jax.serving.engine.ears import Ears
from fac_jax.types import InputError


async def listened(engine: TalkEngine, wave: np.ndarray) -> tuple[np.ndarray, StoredFeatures | None]:
    ear = engine.listen()
    for piece in np.array_split(wave, 7):
        ear.push(piece)
    return await ear.close()


def test_audio_is_encoded_while_it_comes(engine: TalkEngine, talks: Model) -> None:
    async def heard() -> Asked:
        dropped = engine.listen()
        dropped.push(WAVES[0])
        dropped.drop()
        wave, features = await listened(engine, WAVES[1])
        np.testing.assert_array_equal(wave, WAVES[1])
        assert features is not None and features.samples == len(wave)
        turn = dataclasses.replace(asks(wave), mel=features)
        return await Asked(engine, request(said(turn))).over()

    engine.compilations.names.clear()
    asked = asyncio.run(heard())
    assert not engine.compilations.names
    alike = answer(engine, request(said(asks(WAVES[1]))))
    alike.check(talks)
    assert (asked.text_ids, asked.units) == (alike.text_ids, alike.units)
    assert asked.began.audio_positions == alike.began.audio_positions > 10


def test_audio_that_is_no_sound_is_given_back(engine: TalkEngine) -> None:
    silence, features = asyncio.run(listened(engine, np.zeros(0, np.float32)))
    assert not silence.size and features is None
    broken, features = asyncio.run(listened(engine, np.full(9000, np.nan, np.float32)))
    assert len(broken) == 9000 and features is None and engine.alive


def test_audio_for_a_front_end_comes_back_whole_without_the_engine(talks: Model) -> None:
    levelled = copy.copy(talks)
    levelled.config = dataclasses.replace(talks.config, front_end="levelled")
    engine = make_engine(levelled, "levelled", SETTINGS)  # its thread does not run
    wave, features = asyncio.run(listened(engine, WAVES[1]))
    np.testing.assert_array_equal(wave, WAVES[1])
    assert features is None


def test_positions_are_those_of_the_prompt(engine: TalkEngine, talks: Model) -> None:
    asked = answer(engine, request(said(asks(WAVES[0]))))
    goes_on = said(asks(WAVES[0]), answered(asked.reply), Turn("user", "and", wave=WAVES[2]))
    assert engine.positions(goes_on) == answer(engine, request(goes_on)).began.positions
    assert engine.positions(said(asks(WAVES[0]))) == asked.began.positions


def test_what_does_not_fit_is_refused(engine: TalkEngine) -> None:
    ends = said(asks(TEXTS[0]))
    room = engine.context - engine.positions(ends)
    for wanted, message in (
        (request(said()), "does not end with a user's turn"),
        (request(said(asks("a"), Turn("assistant", "b"))), "does not end with a user's turn"),
        (request(ends, limit=room + 1), f"up to {room + 1}: the context has 192"),
        (request(ends, limit=0), "limit=0"),
        (request(ends, voice="other"), "unknown voice 'other'; known: default"),
        (request(said(asks(np.zeros(100, np.float32)))), "shorter than one speech token"),
    ):
        with pytest.raises(InputError, match=message):
            engine.submit(wanted, lambda _: None)
    assert answer(engine, request(ends, limit=room, voice="default")).end.reason == "stop"


def test_a_model_without_a_codec_answers_in_text(talks: Model) -> None:
    mute = copy.copy(talks)
    del mute.__dict__["codec"]
    mute._codec_folder = Path("nowhere")
    engine = make_engine(mute, "mute", SETTINGS)
    engine.warm_up()
    assert engine.voices == () and engine.rate == 16_000
    ends = said(asks(TEXTS[0]))
    with pytest.raises(InputError, match="it cannot speak"):
        engine.submit(request(ends), lambda _: None)
    asked = answer(engine, request(ends, spoken=False))
    engine.stop()
    asked.request = request(ends, spoken=False)
    asked.check(talks)
    with pytest.raises(InputError, match="context=500"):
        make_engine(mute, "mute", dataclasses.replace(SETTINGS, context=500))


def test_a_wave_that_comes_again_is_encoded_once(talks: Model) -> None:
    levelled = copy.copy(talks)
    levelled.config = dataclasses.replace(talks.config, front_end="levelled")
    wave = np.concatenate([np.zeros(8000, np.float32), WAVES[0]])
    ears = Ears(levelled, 4 * wave.nbytes)
    heard = ears.heard(said(asks(wave)))
    first = ears.encode(heard).turns[0]
    expected = as_heard(asks(wave), levelled.config).wave
    assert expected is not None and first.wave is not None and len(first.wave) < len(wave)
    np.testing.assert_array_equal(first.wave, expected)
    again = ears.encode(ears.heard(said(asks(wave.copy())))).turns[0]
    assert again.mel is first.mel and again.mel is not None
    for seed in range(8):
        ears.encode(ears.heard(said(asks(np.random.default_rng(seed).standard_normal(len(wave)).astype(np.float32)))))
    assert 0 < ears.bytes <= 4 * wave.nbytes
    assert ears.encode(ears.heard(said(asks(wave)))).turns[0].mel is not first.mel


def test_a_model_that_hears_ids_gets_them(talks: Model) -> None:
    hears = copy.copy(talks)
    hears.config = dataclasses.replace(talks.config, user_audio="tokens")
    turn = Ears(hears, 1 << 20)
    found = turn.encode(turn.heard(said(asks(WAVES[0])))).turns[0]
    assert found.mel is None and found.speech is not None
    np.testing.assert_array_equal(found.speech, talks.codec.encode(WAVES[0]))
