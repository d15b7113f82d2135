"""The toy world: spoken sums and differences whose replies restate the question, and text facts of a wider world.

Held out is content (pairs of operands) and voice. Text pre-training knows every pair, so that a held-out spoken
question asks an unseen voice's way for knowledge learnt as text. It meets every pair as a statement too, after a
request that does not name it: a model that finds the result from what it has written itself finds it whichever way
the question came.
"""

import csv
import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_pipelines.worlds.espeak import Voice
from data_pipelines.worlds.schema import Kind, RowSpec
from fac_jax.types import InputError

FACTS = Path(__file__).with_name("facts.tsv")
TEMPLATES: tuple[str, ...] = ("what is {}", "how much is {}", "tell me {}")
READ_ALOUD = "say: {}"
STATE = {"plus": "name a sum", "minus": "name a difference"}
NUMBERS: tuple[str, ...] = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
OPERATIONS: tuple[str, ...] = ("plus", "minus")
REHEARSED = 3  # every third fact may be met again after pre-training; what becomes of the others shows forgetting

Pair = tuple[int, str, int]  # left operand, operation, right operand


@dataclasses.dataclass(frozen=True)
class WorldConfig:
    """Defines every row and, with the versions of the libraries, every sample.

    Attributes:
      seed: of every draw.
      limit: largest operand, at most 10.
      test_pairs: pairs that only test questions ask aloud.
      dev_pairs: pairs that only dev questions ask aloud (model selection).
      clips_per_pair: spoken training questions a pair.
      read_aloud: training rows that read a random sentence aloud ("nine is two plus five").
      read_sums: training rows that read a random sum aloud, right or wrong ("two plus five is nine").
      transcribe: training rows that write a spoken random sentence down.
      train_voices: user voices of training rows.
      dev_voices: user voices of dev rows.
      test_voices: user voices of test rows.
      assistant: the one voice of all spoken replies.
      reply_silence: least seconds of silence behind a spoken reply, which is filled up to whole groups of 0.2 s. In
        generation the group in which the model ends is dropped; without silence that may be a part of the last word.
      rates: words per minute of user voices, drawn from [low, high].
      pitches: pitch of user voices, drawn from [low, high].
      pauses: of user voices between words (`Voice.pause`), drawn from [low, high]; the preference pairs have none.
    """

    seed: int = 0
    limit: int = 10
    test_pairs: int = 37
    dev_pairs: int = 13
    clips_per_pair: int = 24
    read_aloud: int = 900
    read_sums: int = 0
    transcribe: int = 300
    train_voices: tuple[str, ...] = (
        *("en-us", "en-us+m1", "en-us+f1", "en-us+belinda", "en-us+robert", "en-us+Andrea", "en-us+aunty"),
        *("en-us-nyc+m2", "en-us-nyc+belinda", "en-us-nyc+paul", "en-us-nyc+Andrea", "en-us-nyc+shelby"),
        *("en-gb-x-rp", "en-gb-x-rp+m3", "en-gb-x-rp+m4", "en-gb-x-rp+f1", "en-gb-x-rp+grandma", "en-gb-x-rp+iven"),
        *("en-gb-x-rp+shelby", "en-gb-scotland", "en-gb-scotland+m4", "en-gb-scotland+m6", "en-gb-scotland+linda"),
        *("en-gb-scotland+max", "en-gb-scotland+michel", "en-gb-scotland+aunty", "en-029+m6", "en-029+m8"),
        *("en-029+ed", "en-029+miguel", "en-gb-x-gbclan+f1", "en-gb-x-gbclan+quincy", "en-gb-x-gbclan+pablo"),
        *("en-gb-x-gbcwmd+linda", "en-gb-x-gbcwmd+rob", "en-gb-x-gbcwmd+anika", "en-us+f2", "en-us-nyc+f5"),
        *("en-gb-x-rp+f3", "en-gb-x-rp+Alicia", "en-gb-scotland+f3", "en-gb-scotland+Annie", "en-029+f2"),
        *("en-gb-x-gbcwmd+f3", "en-gb-x-gbclan+Michael"),
    )
    dev_voices: tuple[str, ...] = ("en-us+m5", "en-gb-scotland+steph")
    test_voices: tuple[str, ...] = ("en-us+m7", "en-gb-x-rp+f4")
    assistant: Voice = Voice("en-us", 190, 50)
    reply_silence: float = 0.2
    rates: tuple[int, int] = (185, 235)
    pitches: tuple[int, int] = (25, 75)
    pauses: tuple[int, int] = (0, 0)


def operate(pair: Pair) -> int:
    """The result of a pair."""
    left, operation, right = pair
    return left + right if operation == "plus" else left - right


def pairs(limit: int) -> list[Pair]:
    """Every sum and every difference that is not negative."""
    every = itertools.product(range(limit + 1), OPERATIONS, range(limit + 1))
    return [pair for pair in every if operate(pair) >= 0]


def say(pair: Pair) -> str:
    """A pair in words."""
    return f"{NUMBERS[pair[0]]} {pair[1]} {NUMBERS[pair[2]]}"


def reply(pair: Pair) -> str:
    """The reply, which restates the question: short replies are memorised, restating ones generalise."""
    return f"{say(pair)} is {NUMBERS[operate(pair)]}"


def split_pairs(config: WorldConfig) -> dict[str, list[Pair]]:
    """Train, dev and test pairs, disjoint; every result of a dev or test pair is also that of a train pair.

    Raises:
      InputError: the limit has no number words, or so many pairs cannot be held out.
    """
    if not 1 <= config.limit <= len(NUMBERS) // 2:
        raise InputError(f"world limit {config.limit} is not in 1..{len(NUMBERS) // 2}")
    every = pairs(config.limit)
    order = [every[i] for i in np.random.default_rng((config.seed, 0)).permutation(len(every))]
    left = Counter(operate(pair) for pair in every)
    held: list[Pair] = []
    wanted = config.test_pairs + config.dev_pairs
    for pair in order:
        if len(held) < wanted and left[operate(pair)] > 1:
            left[operate(pair)] -= 1
            held.append(pair)
    if len(held) < wanted:
        raise InputError(f"test_pairs + dev_pairs is {wanted}, but limit {config.limit} allows at most {len(held)}")
    return {
        "train": [pair for pair in order if pair not in held],
        "dev": held[config.test_pairs :],
        "test": held[: config.test_pairs],
    }


def facts() -> list[tuple[str, str, str]]:
    """(topic, question, answer) of the wider world, which never occurs in speech."""
    with FACTS.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t")
        return [(row["topic"], row["question"], row["answer"]) for row in reader]


def rows(config: WorldConfig) -> dict[str, list[RowSpec]]:
    """The rows of every split (`schema.SPLITS`), in a fixed order.

    Splits: "text" has every pair in every template and as a statement, and the facts, without speech; "train" has
    spoken questions about the train pairs, spoken statements of them, sentences and sums to read aloud, and sentences
    to write down; "dev" and "test" have each of their pairs in every template by each of their voices.

    Raises:
      InputError: see `split_pairs`; or more clips or sentences asked for than there are.
    """
    by_split = split_pairs(config)
    rng, sums_rng = (np.random.default_rng((config.seed, number)) for number in (1, 2))

    def voice(name: str) -> Voice:
        rate, pitch = (int(rng.integers(low, high + 1)) for low, high in (config.rates, config.pitches))
        low, high = config.pauses
        return Voice(name, rate, pitch, int(rng.integers(low, high + 1)) if high else 0)

    def ask(split: str, pair: Pair, template: int, name: str) -> RowSpec:
        return RowSpec(
            id=f"{split}-qa-{'_'.join(map(str, pair))}-{template}-{name}",
            kind="qa",
            question=TEMPLATES[template].format(say(pair)),
            reply=reply(pair),
            user_voice=voice(name),
            assistant_voice=config.assistant,
        )

    train: list[RowSpec] = []
    for pair in by_split["train"]:
        ways = list(itertools.product(range(len(TEMPLATES)), config.train_voices))
        if config.clips_per_pair > len(ways):
            raise InputError(f"clips_per_pair {config.clips_per_pair} exceeds the {len(ways)} templates x voices")
        for i in rng.permutation(len(ways))[: config.clips_per_pair]:
            train.append(ask("train", pair, *ways[i]))

    train += [_statement("train", pair, config.assistant) for pair in by_split["train"]]
    held_replies = {reply(pair) for split in ("dev", "test") for pair in by_split[split]}
    claims = list(_claims(config))
    # Result first, so that a voice learns every word and every neighbour of it, while no read sentence puts a wrong
    # result behind a sum: an LLM that is taught both would not trust its own sums. (Of the sums that `read_sums`
    # counts, the view "voice_sums" teaches the speech only.)
    turned = [f"{result} is {asked}" for asked, result in claims]
    stated = [claim for asked, result in claims if (claim := f"{asked} is {result}") not in held_replies]
    read: dict[Kind, list[str]] = {
        "read_aloud": _draw("read_aloud", config.read_aloud, turned, rng),
        "read_sum": _draw("read_sums", config.read_sums, stated, sums_rng),
    }
    for kind, sentences in read.items():
        for number, sentence in enumerate(sentences):
            train.append(
                RowSpec(
                    id=f"train-{kind}-{number}",
                    kind=kind,
                    question=READ_ALOUD.format(sentence),
                    reply=sentence,
                    assistant_voice=config.assistant,
                )
            )
    for number, sentence in enumerate(_draw("transcribe", config.transcribe, stated, rng)):
        train.append(
            RowSpec(
                id=f"train-transcribe-{number}",
                kind="transcribe",
                question=sentence,
                reply=sentence,
                user_voice=voice(config.train_voices[number % len(config.train_voices)]),
            )
        )

    asked = {"dev": config.dev_voices, "test": config.test_voices}
    held = {
        split: [ask(split, *way) for way in itertools.product(by_split[split], range(len(TEMPLATES)), voices)]
        for split, voices in asked.items()
    }
    return {"text": _text_rows(pairs(config.limit)), "train": train, **held}


def _claims(config: WorldConfig) -> Iterator[tuple[str, str]]:
    """(sum or difference, result) in words, right and wrong."""
    operands, results = range(config.limit + 1), range(2 * config.limit + 1)
    for left, operation, right, result in itertools.product(operands, OPERATIONS, operands, results):
        yield say((left, operation, right)), NUMBERS[result]


def _draw(name: str, count: int, every: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Distinct random sentences; `name` is the key of `count`."""
    if count > len(every):
        raise InputError(f"{name} is {count}, but there are {len(every)} sentences")
    return [every[int(i)] for i in rng.permutation(len(every))[:count]]


def _statement(split: str, pair: Pair, voice: Voice | None) -> RowSpec:
    name = f"{split}-statement-{'_'.join(map(str, pair))}"
    return RowSpec(name, "statement", STATE[pair[1]], reply(pair), assistant_voice=voice)


def _text_rows(every: Sequence[Pair]) -> list[RowSpec]:
    asked = [
        RowSpec(f"text-qa-{'_'.join(map(str, pair))}-{i}", "qa", template.format(say(pair)), reply(pair))
        for pair in every
        for i, template in enumerate(TEMPLATES)
    ]
    stated = [_statement("text", pair, None) for pair in every]
    wider = [
        RowSpec(f"text-fact-{n}", "rehearsed_fact" if n % REHEARSED == 0 else "fact", question, answer)
        for n, (_, question, answer) in enumerate(facts())
    ]
    return asked + stated + wider
