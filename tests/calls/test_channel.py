"""The two channels of a call."""

import dataclasses

import numpy as np
import pytest
from spoken_dialogues import EXTRAS, dialogue, exchange, reply, said

from data_pipelines.augment.operations import Noise, Room, Telephone
from data_pipelines.duplex.channel import FADE, ChannelConfig, Echo, heard, played
from data_pipelines.duplex.timeline import Timeline
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT
from fac_jax.types import InputError

CLEAN = ChannelConfig((-20.0, -20.0), Room(0.0), Echo(0.0), Noise(0.0))
REPLY = reply("one two", 2.0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def decibels(wave: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(wave, dtype=np.float64))))


def test_the_assistant_plays_whole_groups_and_silence() -> None:
    line = Timeline(2).answer(REPLY, 3).finished(30)
    channel, turn = played(line), line.turns[0]
    assert len(channel) == 30 * SLOT
    np.testing.assert_array_equal(channel[turn.onset : turn.onset + len(REPLY.wave)], REPLY.wave)
    channel[turn.onset : turn.closing * SLOT] = 0
    assert not channel.any()


def test_a_turn_that_is_cut_ends_at_its_slot_and_fades() -> None:
    line = Timeline(2).answer(REPLY, 3).cut(9).finished(30)
    channel, turn = played(line), line.turns[0]
    end, heard_samples = 9 * SLOT, 3 * SLOT
    assert not channel[end:].any() and turn.audible == 6
    np.testing.assert_array_equal(channel[turn.onset : end - FADE], REPLY.wave[: heard_samples - FADE])
    dying = np.abs(channel[end - FADE : end])
    uncut = np.abs(REPLY.wave[heard_samples - FADE : heard_samples])
    assert (
        dying[-1] == 0 and (dying <= uncut + 1e-7).all() and dying[FADE // 2 :].sum() < 0.6 * uncut[FADE // 2 :].sum()
    )


def test_levels_are_those_of_the_config() -> None:
    one, other = said("a", 1.0), said("b", 0.5)
    line = Timeline(2).say(SLOT, one).say(10 * SLOT, other, -6.0, "other").finished(20)
    channel = heard(line, played(line), CLEAN, rng())
    assert len(channel) == 20 * SLOT
    assert decibels(channel[SLOT : SLOT + RATE]) == pytest.approx(-20, abs=0.01)
    assert decibels(channel[10 * SLOT : 10 * SLOT + RATE // 2]) == pytest.approx(-26, abs=0.01)
    assert not channel[SLOT + RATE : 10 * SLOT].any()


def test_the_echo_is_what_was_played_later_and_softer() -> None:
    """A user who is silent hears nothing else; what was cut leaves no echo."""
    config = dataclasses.replace(CLEAN, echo=Echo(1.0, (0.2, 0.2), (0.3, 0.3), direct_db=(40.0, 40.0)))
    line = Timeline(2).answer(REPLY, 3).cut(9).finished(30)
    assistant = played(line)
    echo = heard(line, assistant, config, rng())
    late = np.pad(assistant, (round(0.3 * RATE), 0))[: len(assistant)]
    assert np.corrcoef(echo, late)[0, 1] > 0.99
    assert decibels(echo) - decibels(late) == pytest.approx(20 * np.log10(0.2), abs=0.1)
    assert not echo[9 * SLOT + round(0.3 * RATE) + RATE :].any()


def test_noise_is_set_against_the_user_and_has_gaps() -> None:
    line = Timeline(2).say(0, said("a", 1.0)).finished(600)
    config = dataclasses.replace(CLEAN, noise=Noise(1.0, (10.0, 10.0), ("white",)), pieces=0.0)
    rest = heard(line, played(line), config, rng())[2 * RATE :]
    assert decibels(rest) == pytest.approx(-30, abs=0.2)
    gaps = heard(line, played(line), dataclasses.replace(config, pieces=0.5), rng(1))[2 * RATE :]
    assert 0.1 < np.mean(gaps == 0) < 0.9


def test_everything_at_once_stays_in_range_and_as_long() -> None:
    config = ChannelConfig((-6.0, -6.0), Room(1.0), Echo(1.0), Noise(1.0, (0.0, 0.0), ("pink",)), 0.0, Telephone(1.0))
    line = Timeline(2).say(100, said("a", 2.0)).answer(REPLY, 12).finished(40)
    channel = heard(line, played(line), config, rng())
    assert channel.dtype == np.float32 and len(channel) == 40 * SLOT and np.abs(channel).max() <= 1
    np.testing.assert_array_equal(channel, heard(line, played(line), config, rng()))


def test_impossible_channels_are_refused() -> None:
    with pytest.raises(InputError, match="babble"):
        ChannelConfig(noise=Noise(1.0, (0.0, 1.0), ("babble",)))
    with pytest.raises(InputError, match="channel.echo.probability is 3"):
        Echo(3.0)


def test_tones_are_what_the_tests_say() -> None:
    assert exchange().reply.groups * SLOT == len(exchange().reply.wave)
    assert dialogue().extras is EXTRAS
