"""Pairs of replies to spoken sums, a better and a worse one, for the four tasks of multi-task DPO (paper, section 2.4).

robustness      the sum was asked through noise; the worse reply answers a neighbour's sum
instruction     a pace was asked for; the worse reply has the other pace
understanding   who speaks, or how many words there were; the worse reply is the other answer
empathy         the sum was asked in a sad or in a happy voice; the worse reply opens as for the other one

What is chosen of two alternatives is rejected as often, so that no reply is better by itself.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from data_pipelines.augment.effects import COLOURS
from data_pipelines.worlds.arithmetic import TEMPLATES, Pair, WorldConfig, operate, reply, say, split_pairs
from data_pipelines.worlds.espeak import Voice
from fac_jax.types import PREFERENCE_TASKS, InputError

PACES: Final = {"slowly": "answer slowly", "quickly": "answer quickly"}
WHO: Final = "who is speaking"
SPEAKERS: Final = ("a man is speaking", "a woman is speaking")
HOW_MANY: Final = "how many words"
LENGTHS: Final = {5: "five words", 6: "six words"}
OPENINGS: Final = {"sad": "cheer up", "happy": "how nice"}
WOMEN: Final = frozenset(
    (*("f1", "f2", "f3", "f4", "f5", "belinda", "Andrea", "aunty", "linda", "grandma", "Alicia", "Annie", "anika"),)
    + ("steph",)
)


@dataclasses.dataclass(frozen=True)
class PairsConfig:
    """How many pairs are made, and of what.

    Attributes:
      train: pairs of each task to train on: train sums by train voices.
      test: pairs of each task to judge by: test sums by test voices.
      snr_db: noise of robustness questions, drawn from [low, high] dB.
      clean: share of robustness questions without noise.
      paces: words per minute of a slow and of a quick reply.
      sad: (words per minute, pitch) of a sad question.
      happy: the same of a happy one.
      man: pitch, drawn from [low, high], of a man who is to be told from a woman; their voices differ little else.
      woman: the same of a woman.
    """

    train: int = 240
    test: int = 60
    snr_db: tuple[float, float] = (5.0, 20.0)
    clean: float = 0.3
    paces: tuple[int, int] = (140, 270)
    sad: tuple[int, int] = (130, 5)
    happy: tuple[int, int] = (290, 95)
    man: tuple[int, int] = (5, 35)
    woman: tuple[int, int] = (65, 95)


@dataclasses.dataclass(frozen=True)
class PairSpec:
    """A pair of replies to be spoken, for one of `PREFERENCE_TASKS`; the id is unique in the data set.

    The user says `question`, with `instruction` as text beside it. A text reply has None as its voice, and a question
    without noise None as its `snr_db`.
    """

    id: str
    task: str
    question: str
    instruction: str
    chosen: str
    rejected: str
    user_voice: Voice
    chosen_voice: Voice | None = None
    rejected_voice: Voice | None = None
    snr_db: float | None = None
    colour: str = "white"


def is_woman(voice: str) -> bool:
    """Whether an espeak-ng voice with its variant is a woman's."""
    return voice.partition("+")[2] in WOMEN


class _Draw:
    """Sums, voices and phrasings of one split, each gone through in a random order before one comes again."""

    def __init__(self, world: WorldConfig, split: str, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.pairs = split_pairs(world)[split]
        names = world.train_voices if split == "train" else world.test_voices
        self._men, self._women = ([n for n in names if is_woman(n) == woman] for woman in (False, True))
        if not self._men or not self._women:
            raise InputError(f"{split}_voices has no {'woman' if self._men else 'man'}: {', '.join(names)}")
        self.pair = self._cycle(self.pairs)
        self._voices = {False: self._cycle(self._men), True: self._cycle(self._women)}

    def _cycle(self, values: Sequence) -> Iterator:
        while True:
            yield from (values[int(i)] for i in self.rng.permutation(len(values)))

    def voice(self, woman: bool | None = None, rate: int | None = None, pitch: int | None = None) -> Voice:
        """Somebody; a man or a woman in turn by chance."""
        woman = bool(self.rng.integers(2)) if woman is None else woman
        drawn = [int(self.rng.integers(low, high + 1)) for low, high in (self.world.rates, self.world.pitches)]
        return Voice(next(self._voices[woman]), rate or drawn[0], drawn[1] if pitch is None else pitch)

    def question(self, pair: Pair) -> str:
        return TEMPLATES[int(self.rng.integers(len(TEMPLATES)))].format(say(pair))


def neighbours(pair: Pair, limit: int) -> list[Pair]:
    """Sums and differences that differ in one operand by one or two."""
    left, operation, right = pair
    near = [(left + d, operation, right) for d in (-2, -1, 1, 2)] + [(left, operation, right + d) for d in (-1, 1)]
    return [p for p in near if 0 <= p[0] <= limit and 0 <= p[2] <= limit and operate(p) >= 0]


def _robustness(draw: _Draw, config: PairsConfig, number: int, name: str) -> PairSpec:
    pair = next(draw.pair)
    near = neighbours(pair, draw.world.limit)
    wrong = near[int(draw.rng.integers(len(near)))]
    spoken = draw.world.assistant if number % 2 else None
    noisy = draw.rng.random() >= config.clean
    colour = list(COLOURS)[int(draw.rng.integers(len(COLOURS)))]
    snr = round(float(draw.rng.uniform(*config.snr_db)), 1) if noisy else None
    question = draw.question(pair)
    replies = (reply(pair), reply(wrong))
    return PairSpec(name, "robustness", question, "", *replies, draw.voice(), spoken, spoken, snr, colour)


def _instruction(draw: _Draw, config: PairsConfig, number: int, name: str) -> PairSpec:
    pair = next(draw.pair)
    slow, quick = (dataclasses.replace(draw.world.assistant, rate=rate) for rate in config.paces)
    asked, voices = (("slowly", (slow, quick)), ("quickly", (quick, slow)))[number % 2]
    question = draw.question(pair)
    told = reply(pair)
    return PairSpec(name, "instruction", question, PACES[asked], told, told, draw.voice(), voices[0], voices[1])


def _understanding(draw: _Draw, config: PairsConfig, number: int, name: str) -> PairSpec:
    pair = next(draw.pair)
    if number % 2:
        woman = number % 4 == 1
        right, wrong = SPEAKERS[woman], SPEAKERS[not woman]
        low, high = config.woman if woman else config.man
        voice = draw.voice(woman, pitch=int(draw.rng.integers(low, high + 1)))
        return PairSpec(name, "understanding", draw.question(pair), WHO, right, wrong, voice)
    long = number % 4 == 0
    fitting = [t.format(say(pair)) for t in TEMPLATES if (len(t.format(say(pair)).split()) == 6) == long]
    question = fitting[int(draw.rng.integers(len(fitting)))]
    right, wrong = (LENGTHS[6], LENGTHS[5]) if long else (LENGTHS[5], LENGTHS[6])
    return PairSpec(name, "understanding", question, HOW_MANY, right, wrong, draw.voice())


def _empathy(draw: _Draw, config: PairsConfig, number: int, name: str) -> PairSpec:
    pair = next(draw.pair)
    mood, other = ("sad", "happy") if number % 2 else ("happy", "sad")
    rate, pitch = config.sad if mood == "sad" else config.happy
    kind, unkind = (f"{OPENINGS[m]} {reply(pair)}" for m in (mood, other))
    asks, answers = draw.voice(rate=rate, pitch=pitch), draw.world.assistant
    return PairSpec(name, "empathy", draw.question(pair), "", kind, unkind, asks, answers, answers)


_MAKERS: Final[dict[str, Callable[[_Draw, PairsConfig, int, str], PairSpec]]] = {
    "robustness": _robustness,
    "instruction": _instruction,
    "understanding": _understanding,
    "empathy": _empathy,
}


def pair_specs(world: WorldConfig, config: PairsConfig) -> dict[str, list[PairSpec]]:
    """Pairs of every task to train on ("train") and to judge by ("test"), in a fixed order.

    Raises:
      InputError: the world cannot be (`arithmetic.split_pairs`), or a split's voices are all men's or all women's.
    """
    found: dict[str, list[PairSpec]] = {}
    for number, (split, count) in enumerate((("train", config.train), ("test", config.test))):
        specs = []
        for order, task in enumerate(PREFERENCE_TASKS):
            draw = _Draw(world, split, np.random.default_rng((world.seed, 2, number, order)))
            specs += [_MAKERS[task](draw, config, i, f"{split}-{task}-{i}") for i in range(count)]
        found[split] = specs
    return found
