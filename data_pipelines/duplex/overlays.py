"""Places what changes no turn of the assistant: backchannels, noise, other voices, and words that need no answer."""

from typing import Final

import numpy as np
from jaxtyping import Float32

from data_pipelines.augment.effects import COLOURS, coloured_noise
from data_pipelines.duplex.dialogue import Extras, Said
from data_pipelines.duplex.events import Backchannel, Burst, EventsConfig
from data_pipelines.duplex.timeline import Source, Timeline, between, choice, one_of, samples
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, EventKind

FADE: Final = RATE // 100  # samples at both ends of what is cut out of a longer sound
APART: Final = 0.2  # seconds between the end of a turn and what falls after it
LONGEST_BACKCHANNEL: Final = 0.8  # seconds


def overlay(line: Timeline, events: EventsConfig, extras: Extras, rng: np.random.Generator) -> Timeline:
    """Places what is drawn during the last turn, which goes on, and after it."""
    short = tuple(said for said in extras.backchannels if len(said) <= LONGEST_BACKCHANNEL * RATE)
    if short:
        line = _backchannel(line, events.backchannel, one_of(rng, short), rng)
    if rng.random() < events.noise.probability:
        wave = coloured_noise(between(rng, *events.noise.seconds), one_of(rng, tuple(COLOURS)), rng)
        line = _burst(line, EventKind.NOISE, events.noise, Said("", faded(wave)), rng)
    if extras.side_talk and rng.random() < events.side_talk.probability:
        heard, most = one_of(rng, extras.side_talk), between(rng, *events.side_talk.seconds)
        if most < len(heard):
            heard = Said("", faded(heard.wave[:most]))
        line = _burst(line, EventKind.SIDE_TALK, events.side_talk, heard, rng)
    if extras.thanks and rng.random() < events.nothing_to_answer.probability:
        line = _nothing_to_answer(line, events, extras, rng)
    return line


def faded(wave: Float32[np.ndarray, " N"], fade: int = FADE) -> Float32[np.ndarray, " N"]:
    """Returns a wave that begins and ends softly."""
    ramp = np.minimum(1.0, (np.arange(len(wave)) + 1) / fade)
    return (wave * ramp * ramp[::-1]).astype(np.float32)


def _backchannel(line: Timeline, drawn: Backchannel, said: Said, rng: np.random.Generator) -> Timeline:
    turn = line.turns[-1]
    if turn.spoken - turn.onset <= drawn.longer * RATE or rng.random() >= drawn.probability:
        return line
    level = float(rng.uniform(*drawn.decibels))
    if rng.random() < drawn.idle:
        return _after(line, EventKind.BACKCHANNEL, said, level, "user", rng)
    return _during(line, EventKind.BACKCHANNEL, said, level, "user", rng)


def _burst(line: Timeline, kind: EventKind, drawn: Burst, heard: Said, rng: np.random.Generator) -> Timeline:
    level = float(rng.uniform(*drawn.decibels))
    place = _after if rng.random() < drawn.idle else _during
    return place(line, kind, heard, level, "other", rng)


def _during(
    line: Timeline, kind: EventKind, said: Said, level: float, source: Source, rng: np.random.Generator
) -> Timeline:
    """Places a sound within what is heard of the last turn, if it is as long."""
    turn = line.turns[-1]
    last = turn.spoken - len(said)
    if last < turn.onset:
        return line
    onset = int(rng.integers(turn.onset, last + 1))
    return line.say(onset, said, level, source).note(kind, onset, onset + len(said), said.text, len(line.turns) - 1)


def _after(
    line: Timeline, kind: EventKind, said: Said, level: float, source: Source, rng: np.random.Generator
) -> Timeline:
    """Places a sound where the assistant listens, after everything that was said."""
    onset = max(line.now, line.free * SLOT) + between(rng, APART, 2 * APART)
    return line.say(onset, said, level, source).note(kind, onset, onset + len(said), said.text)


def _nothing_to_answer(line: Timeline, events: EventsConfig, extras: Extras, rng: np.random.Generator) -> Timeline:
    said, onset = one_of(rng, extras.thanks), line.now + samples(events.user_gap.seconds.draw(rng))
    line, end = line.say(onset, said), onset + len(said)
    answered = bool(extras.acknowledgements) and rng.random() < events.nothing_to_answer.answered
    line = line.note(EventKind.NOTHING_TO_ANSWER, onset, end, said.text, len(line.turns) if answered else None)
    if not answered:
        return line
    opening = (end - 1) // SLOT + 1 + choice(rng, events.response_gap.shares)
    return line.answer(one_of(rng, extras.acknowledgements), max(line.free, opening))
