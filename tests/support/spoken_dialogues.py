"""Dialogues of tones in place of words: what calls are made of in tests, without a synthesizer."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.duplex.dialogue import Dialogue, Exchange, Extras, Reply, Said, Utterance
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT

RESTS = 0.2  # seconds of silence after a reply, at least


def tone(seconds: float, hertz: float = 300.0) -> np.ndarray:
    return (0.1 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def said(text: str, seconds: float) -> Said:
    return Said(text, tone(seconds))


def reply(text: str, seconds: float) -> Reply:
    """A reply that sounds for so many seconds, in whole groups; its level rises, so that groups differ."""
    wave = tone(seconds, 500.0)
    wave *= np.linspace(0.5, 2.0, len(wave), dtype=np.float32)
    return Reply(text, np.pad(wave, (0, -(len(wave) + round(RESTS * RATE)) % SLOT + round(RESTS * RATE))))


def exchange(asked: str = "what is two plus one", seconds: float = 1.2, answered: float = 1.5) -> Exchange:
    *first, last = asked.split()
    parts = (said(" ".join(first), 0.8 * seconds), said(last, 0.2 * seconds))
    return Exchange(Utterance(said(asked, seconds), parts), reply("one two", answered))


EXTRAS = Extras(
    backchannels=(said("mm-hm", 0.5),),
    commands=(said("stop", 0.4),),
    thanks=(said("thank you", 0.5),),
    side_talk=(said("somebody else", 2.5),),
    greetings=(reply("hello", 0.4),),
    asked_back=(reply("yes", 0.35),),
    acknowledgements=(reply("okay", 0.4),),
    assistant_backchannels=(reply("right", 0.3),),
)


def dialogue(name: str = "a", exchanges: Sequence[Exchange] = (), extras: Extras = EXTRAS) -> Dialogue:
    """A question with a reply of 1.5 s, unless other exchanges are given."""
    return Dialogue(name, tuple(exchanges) or (exchange(),), extras=extras)
