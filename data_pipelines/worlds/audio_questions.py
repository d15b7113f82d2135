"""Questions about what is heard, with options to choose from: which sound, which melody, who speaks, how many words.

They are asked as MMAU and MMSU are: the question and its options as text after the audio. The right reply has the
text of the option and its letter, "noise (B)", so that both benchmarks can read it. Held out are the draws of sounds,
sums and voices.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from data_pipelines.worlds.arithmetic import NUMBERS, TEMPLATES, say
from data_pipelines.worlds.asked import Asked, Draw
from data_pipelines.worlds.espeak import Voice
from data_pipelines.worlds.preferences import is_woman
from data_pipelines.worlds.sounds import MELODIES, NOISES, Sound
from fac_jax.evaluation.benchmarks.benchmark import choose

LETTERS: Final = "ABCD"
SPEAKERS: Final = ("man", "woman")
NO_SPEAKERS: Final = ("bird", "bell")  # options that are never right
NO_MELODIES: Final = ("steady", "silent")
WORDS: Final = ("one", "two", "three", "four")
PITCHES: Final = ((0, 15), (84, 99))  # of men and of women, who differ little else


@dataclasses.dataclass(frozen=True)
class Heard:
    """What is heard, and what there is to say about it."""

    heard: str | Sound
    voice: Voice | None
    answer: str


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of question.

    Attributes:
      question: its words.
      task: sound, music or speech, as MMAU groups its rows.
      topic: its name, MMAU's and MMSU's sub-category.
      options: in their order; a small model does not learn to look letters up.
      make: makes what is heard; the number of the row says which answer is right.
    """

    question: str
    task: str
    topic: str
    options: tuple[str, ...]
    make: Callable[[Draw, int], Heard]


def _sound(kinds: tuple[str, ...], draw: Draw, number: int) -> Heard:
    kind = kinds[number % len(kinds)]
    return Heard(Sound(kind, int(draw.rng.integers(2**31))), None, kind)


def _speaker(draw: Draw, number: int) -> Heard:
    woman = bool(number % 2)
    voice = draw.voice()
    while is_woman(voice.name) != woman:
        voice = draw.voice()
    low, high = PITCHES[woman]
    voice = dataclasses.replace(voice, pitch=int(draw.rng.integers(low, high + 1)))
    return Heard(draw.one(TEMPLATES).format(say(draw.pair())), voice, SPEAKERS[woman])


def _words(draw: Draw, number: int) -> Heard:
    count = number % len(WORDS) + 1
    asked = say(draw.pair())
    drawn = " ".join(draw.one(NUMBERS) for _ in range(count))
    return Heard({3: asked, 4: f"say {asked}"}.get(count, drawn), draw.voice(), WORDS[count - 1])


KINDS: Final = (
    Kind("which sound is it?", "sound", "sound", NOISES, lambda draw, number: _sound(NOISES, draw, number)),
    Kind(
        "how does the melody go?",
        "music",
        "melody",
        MELODIES + NO_MELODIES,
        lambda draw, number: _sound(MELODIES, draw, number),
    ),
    Kind("who is speaking?", "speech", "speaker", SPEAKERS + NO_SPEAKERS, _speaker),
    Kind("how many words?", "speech", "word count", WORDS, _words),
)


def audio_questions(draw: Draw, count: int, name: str) -> Iterator[Asked]:
    """Yields questions of every kind in turn; the options of a kind always come in the same order.

    Training asks twice as often who is speaking, which is the hardest to hear.
    """
    kinds = KINDS if draw.held_out else (*KINDS, *(kind for kind in KINDS if kind.make is _speaker))
    for number in range(count):
        kind = kinds[number % len(kinds)]
        found = kind.make(draw, number // len(kinds))
        options = kind.options
        right = options.index(found.answer)
        wrong = int(np.delete(np.arange(len(options)), right)[int(draw.rng.integers(len(options) - 1))])
        fields = {"question": kind.question, "options": options, "answer": found.answer}
        yield Asked(
            f"{name}-{number}",
            found.heard,
            chosen(options, right),
            chosen(options, wrong),
            found.voice,
            instruction=choose(kind.question, options),
            fields={**fields, "task": kind.task, "topic": kind.topic},
        )


def chosen(options: tuple[str, ...], number: int) -> str:
    """Returns a reply that chooses an option."""
    return f"{options[number]} ({LETTERS[number]})"
