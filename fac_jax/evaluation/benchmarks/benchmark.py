"""What a benchmark is: how its rows are asked, and how the answers are scored under each rule set."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from fac_jax.evaluation.benchmarks.assets import Assets
from fac_jax.evaluation.benchmarks.base import Outcome, Row, Rules
from fac_jax.evaluation.benchmarks.measure import Measure
from fac_jax.text.chat import with_tools
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT

Use: TypeAlias = Literal["s2t", "s2m", "spoken_s2m", "tools"]
Need: TypeAlias = Literal["recogniser", "mos", "embedder"]
SPEAKS: Final = ("s2m", "spoken_s2m")
TRANSCRIBE: Final = "Please help me transcribe the audio."
CHOOSE: Final = "Choose the correct option from the following options:"


@dataclasses.dataclass(frozen=True, eq=False)
class Answered:
    """A row, and what a model answered.

    Attributes:
      id: id of the row in its set.
      row: fields of the row.
      reply: text of the reply; None if the model gave none.
      heard: what a recogniser wrote down of the reply's speech; None without speech or recogniser.
      judged: replies of a judge; None without a judge, or where the judge failed.
      unjudged: why there are none, such as "timeout"; None if there are replies, or nothing was asked.
      mos: quality of the reply's speech; None if it was not measured.
      similarities: similarity of the reply to each of the row's choices; None if they were not compared.
    """

    id: str
    row: Row
    reply: str | None
    heard: str | None = None
    judged: Sequence[str] | None = None
    unjudged: str | None = None
    mos: float | None = None
    similarities: Sequence[float] | None = None


@dataclasses.dataclass(frozen=True)
class Ask:
    """What a judge is asked about an answer: a template, its fields, and whether it hears question and reply."""

    template: str
    fields: Mapping[str, str]
    hears: bool = False


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of a set of answers.

    Attributes:
      outcomes: one for each answer.
      headline: the value that the paper prints.
      values: further values by name, in the same unit or in one that the name tells.
    """

    outcomes: Sequence[Outcome]
    headline: Measure
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Scorer:
    """How answers are scored under one rule set.

    Attributes:
      score: scores all answers of a set, in the order of the set.
      asks: what a judge is asked about an answer; None for a scorer without a judge.
      readable: whether the replies of a judge can be read; otherwise it is asked again.
      needs: other models that the scorer needs.
      assets: files of others that it reads, such as "phrases.json".
    """

    score: Callable[[Sequence[Answered], Assets], Scores]
    asks: Callable[[Answered], Ask | None] | None = None
    readable: Callable[[Sequence[str]], bool] = lambda replies: True
    needs: tuple[Need, ...] = ()
    assets: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A set of questions.

    Attributes:
      name: family and subset, such as "voicebench/ifeval".
      title: its name in the paper.
      use: the mode in which the model is asked (docs/evaluation.md, "Prompts").
      unit: of its value: "%", or a range such as "1-5".
      scorers: by rule set; the first is the default.
      instruction: text that follows the audio in the user's turn; None for audio alone.
      lower_is_better: true for error rates.
    """

    name: str
    title: str
    use: Use
    unit: str
    scorers: Mapping[Rules, Scorer]
    instruction: Callable[[Row], str] = lambda row: ""
    lower_is_better: bool = False

    @property
    def family(self) -> str:
        """Returns the part of the name before the slash."""
        return self.name.split("/")[0]

    @property
    def speaks(self) -> bool:
        """Returns whether the model is asked to answer in speech."""
        return self.use in SPEAKS

    def system(self, row: Row, persona: str = "") -> str:
        """Returns the system prompt of a row; `persona` follows the prompt of spoken benchmarks such as VStyle."""
        if self.use == "tools":
            return with_tools(SYSTEM_TEXT, tools_of(row))
        if self.use == "s2t":
            return SYSTEM_TEXT
        return f"{SYSTEM_JOINT} {persona}" if self.use == "spoken_s2m" and persona else SYSTEM_JOINT


def tools_of(row: Row) -> list[dict[str, Any]]:
    """Returns the tools of a row of SpeechFC, whose field `function` is a JSON string or a list of objects."""
    found = row["function"]
    return json.loads(found) if isinstance(found, str) else list(found)


def choice_lines(choices: Sequence[str]) -> str:
    """Returns one line for each choice, "(A)text"; letters go on after D."""
    return "\n".join(f"({chr(ord('A') + i)}){choice}" for i, choice in enumerate(choices))


def choose(question: str, choices: Sequence[str]) -> str:
    """Returns the instruction of a question with choices; a question without choices is asked as it is."""
    return f"{question} {CHOOSE}\n{choice_lines(choices)}" if choices else question
