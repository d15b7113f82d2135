"""The toy world on the telephone: sums, two sums at once and counts, asked in calls.

Held out are pairs of operands and voices, as in the toy world (`worlds.arithmetic`), whose voices and words these are.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from data_pipelines.duplex.dialogue import Dialogue, Exchange, Extras, Reply, Said, Utterance
from data_pipelines.worlds.arithmetic import NUMBERS, TEMPLATES, Pair, WorldConfig, operate, reply, say, split_pairs
from data_pipelines.worlds.build import ended
from data_pipelines.worlds.espeak import Voice
from data_pipelines.worlds.storage import FULL_SCALE
from data_pipelines.worlds.synthesis import Job, speak_all
from fac_jax.types import InputError

BACKCHANNELS: Final = ("mm-hm", "okay")
COMMANDS: Final = ("stop", "wait")
THANKS: Final = ("thank you", "never mind")
GREETING, ASKED_BACK, ACKNOWLEDGED = "hello", "yes", "okay"  # of the assistant
COUNTS: Final = range(4, 11)
SPEAKERS: Final = 3  # voices of side talk in a call's set to one of the user


@dataclasses.dataclass(frozen=True)
class DuplexWorldConfig:
    """Defines every call and, with the versions of the libraries, every sample.

    Attributes:
      world: pairs, voices and the assistant's voice; its seed is that of every draw.
      calls: of the training split.
      dev_calls: of the split "dev", of the dev pairs and voices.
      held_out_calls: of every scenario, of the test pairs and voices.
      quiet_calls: of the two scenarios in which nobody speaks.
      quiet_seconds: how long these are.
      voices: ways in which the training voices speak (rate, pitch), each of several calls.
      exchanges: of a call, as many as fit.
      shares: of sums, of two sums and of counts among the questions of training.
    """

    world: WorldConfig = WorldConfig()
    calls: int = 2000
    dev_calls: int = 60
    held_out_calls: int = 200
    quiet_calls: int = 20
    quiet_seconds: float = 300.0
    voices: int = 300
    exchanges: int = 8
    shares: tuple[float, float, float] = (0.4, 0.3, 0.3)

    def __post_init__(self) -> None:
        for name in ("calls", "dev_calls", "held_out_calls", "quiet_calls", "voices", "exchanges"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it is at least 1")


@dataclasses.dataclass(frozen=True)
class Question:
    """A question in words, its parts, and the reply in words and as it is spoken."""

    asked: str
    parts: tuple[str, ...]
    reply: str
    spoken: str


@dataclasses.dataclass(frozen=True)
class Spoken:
    """A dialogue before it is spoken.

    Attributes:
      id: names the call.
      questions: in order.
      voice: of the user.
      others: what other voices say.
    """

    id: str
    questions: tuple[Question, ...]
    voice: Voice
    others: tuple[Job, ...]


def sum_of(pair: Pair, template: str) -> Question:
    """Returns a sum or a difference, which is unfinished before its last operand."""
    left, operation, right = pair
    parts = (template.format(f"{NUMBERS[left]} {operation}"), NUMBERS[right])
    return Question(template.format(say(pair)), parts, reply(pair), reply(pair))


def two_sums(first: Pair, second: Pair) -> Question:
    """Returns two sums or differences in one question."""
    left, operation, right = second
    asked = f"what is {say(first)} and"
    parts = (f"{asked} {NUMBERS[left]} {operation}", NUMBERS[right])
    replied = f"{reply(first)} and {reply(second)}"
    return Question(f"{asked} {say(second)}", parts, replied, replied)


def count_to(number: int) -> Question:
    """Returns a request to count, whose reply is slow enough to be interrupted, about 0.45 s a number."""
    counted = NUMBERS[1 : number + 1]
    return Question(f"count to {NUMBERS[number]}", ("count to", NUMBERS[number]), " ".join(counted), ", ".join(counted))


class Draw:
    """Draws of one split, in order."""

    def __init__(self, config: DuplexWorldConfig, pairs: Sequence[Pair], names: Sequence[str], number: int) -> None:
        """Takes the pairs and the names of the voices of a split, and a number that no other split has."""
        self.rng = np.random.default_rng((config.world.seed, 3, number))
        self._config, self._pairs = config, pairs
        self._voices = [self._new_voice(str(self.rng.choice(names))) for _ in range(config.voices)]

    def pair(self) -> Pair:
        """Draws a pair."""
        return self._pairs[int(self.rng.integers(len(self._pairs)))]

    def sum(self) -> Question:
        """Draws a sum and a way to ask it."""
        return sum_of(self.pair(), TEMPLATES[int(self.rng.integers(len(TEMPLATES)))])

    def count(self, least: int = COUNTS[0]) -> Question:
        """Draws a count to at least a number."""
        return count_to(int(self.rng.integers(least, COUNTS[-1] + 1)))

    def question(self) -> Question:
        """Draws a question of any kind by its share."""
        kind = int(self.rng.choice(3, p=self._config.shares))
        return self.sum() if kind == 0 else two_sums(self.pair(), self.pair()) if kind == 1 else self.count()

    def spoken(self, name: str, questions: Sequence[Question]) -> Spoken:
        """Draws who asks questions, and what others say meanwhile."""
        voice = self._voices[int(self.rng.integers(len(self._voices)))]
        others = tuple((self._claim(), self._other(voice)) for _ in range(SPEAKERS - 1))
        return Spoken(name, tuple(questions), voice, others)

    def _claim(self) -> str:
        pair = self.pair()
        return f"{NUMBERS[abs(operate(pair))]} is {say(pair)}"

    def _other(self, voice: Voice) -> Voice:
        others = [one for one in self._voices if one.name != voice.name] or self._voices
        return others[int(self.rng.integers(len(others)))]

    def _new_voice(self, name: str) -> Voice:
        world = self._config.world
        rate, pitch = (int(self.rng.integers(low, high + 1)) for low, high in (world.rates, world.pitches))
        return Voice(name, rate, pitch)


def draws(config: DuplexWorldConfig) -> Mapping[str, Draw]:
    """Returns the draws of "train", "dev" and "test"; raises as `split_pairs`."""
    pairs, world = split_pairs(config.world), config.world
    names = {"train": world.train_voices, "dev": world.dev_voices, "test": world.test_voices}
    return {split: Draw(config, pairs[split], names[split], number) for number, split in enumerate(names)}


def speak(config: DuplexWorldConfig, planned: Sequence[Spoken], processes: int) -> Iterator[Dialogue]:
    """Speaks dialogues, all clips at once and each once, and returns an iterator of the dialogues.

    Raises:
      InputError: a voice does not exist.
    """
    assistant, silence = config.world.assistant, config.world.reply_silence
    jobs = {job for one in planned for job in _jobs(one, assistant)}
    ordered = sorted(jobs)
    waves = dict(zip(ordered, speak_all(ordered, processes), strict=True))

    def said(text: str, voice: Voice) -> Said:
        return Said(text, (waves[text, voice] / FULL_SCALE).astype(np.float32))

    def replied(text: str, spoken: str) -> Reply:
        return Reply(text, (ended(waves[spoken, assistant], silence) / FULL_SCALE).astype(np.float32))

    own = {text: replied(text, text) for text in (GREETING, ASKED_BACK, ACKNOWLEDGED)}

    def dialogue(one: Spoken) -> Dialogue:
        exchanges = tuple(
            Exchange(
                Utterance(said(asked.asked, one.voice), tuple(said(part, one.voice) for part in asked.parts)),
                replied(asked.reply, asked.spoken),
            )
            for asked in one.questions
        )
        words = (tuple(said(text, one.voice) for text in texts) for texts in (BACKCHANNELS, COMMANDS, THANKS))
        backchannels, commands, thanks = words
        extras = Extras(
            backchannels,
            commands,
            thanks,
            tuple(said(*job) for job in one.others),
            (own[GREETING],),
            (own[ASKED_BACK],),
            (own[ACKNOWLEDGED],),
        )
        return Dialogue(one.id, exchanges, extras=extras)

    return map(dialogue, planned)


def _jobs(one: Spoken, assistant: Voice) -> Iterator[Job]:
    for question in one.questions:
        yield from ((text, one.voice) for text in (question.asked, *question.parts))
        yield question.spoken, assistant
    yield from ((text, one.voice) for text in (*BACKCHANNELS, *COMMANDS, *THANKS))
    yield from ((text, assistant) for text in (GREETING, ASKED_BACK, ACKNOWLEDGED))
    yield from one.others


Questions = Callable[[Draw], Sequence[Question]]


def planned(draw: Draw, name: str, count: int, questions: Questions) -> list[Spoken]:
    """Draws the dialogues of a split; `questions` draws those of one."""
    return [draw.spoken(f"{name}-{number}", questions(draw)) for number in range(count)]
