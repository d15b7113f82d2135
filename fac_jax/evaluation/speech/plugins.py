"""Heavy models of others, plugged in by a command or a Python function: recognisers, speech quality, embedders.

A command reads one JSON object a line on its standard input, {"id": .., "audio": PATH} or {"id": .., "text": ..}, and
writes for each, in any order, {"id": .., "text": ..} (a recogniser), {"id": .., "score": ..} (speech quality) or
{"id": .., "vector": [..]} (an embedder). A Python function takes an iterable of the same objects, and yields the same.
Answers are kept by a hash of model and content as they come: what was answered is never computed again.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from jaxtyping import Float64

from fac_jax.evaluation.appended import AppendedLines
from fac_jax.evaluation.speech.plugin_runs import command_answers, entry_answers
from fac_jax.evaluation.speech.recognisers import package_version
from fac_jax.types import InputError

Need: TypeAlias = Literal["recogniser", "mos", "embedder"]
# What the official code uses. Values by another model are those of a stand-in.
OFFICIAL: Final[Mapping[Need, str]] = {
    "recogniser": "openai/whisper-large-v3",
    "mos": "UTMOS",
    "embedder": "nvidia/NV-Embed-v2",
}


@dataclasses.dataclass(frozen=True)
class PluginConfig:
    """A model of others.

    Attributes:
      command: program and its arguments; empty if there is an entry.
      entry: "package.module:function", or the name of a built-in one (`recognisers.BUILT_IN`).
      options: keyword arguments of the entry's function, such as {"model": PATH}.
      name: of the model, as reports show it; of `OFFICIAL` if it is that one. "" takes the option "model", or else the
        entry or the program.
      version: of the model or its program; "" takes that of a built-in entry's package.
      weights: file of the weights, whose SHA-256 goes into the report.
    """

    command: tuple[str, ...] = ()
    entry: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str = ""
    version: str = ""
    weights: str | None = None

    def __post_init__(self) -> None:
        if bool(self.command) == (self.entry is not None):
            raise InputError("a plug-in is either a command or an entry: give one of the two")


@dataclasses.dataclass(frozen=True)
class PluginIdentity:
    """Which model answered, for reports."""

    name: str
    version: str
    weights_sha256: str | None

    def official(self, need: Need) -> bool:
        """Returns whether this is the model of the official code, going by its name."""
        return self.name.casefold() == OFFICIAL[need].casefold()

    def describe(self) -> str:
        """Returns one line for a report."""
        weights = f"weights {self.weights_sha256[:12]}" if self.weights_sha256 else ""
        return ", ".join(filter(None, (self.name, self.version, weights)))


class Plugin:
    """A model of others and what it has answered.

    Attributes:
      identity: for reports.
    """

    def __init__(self, config: PluginConfig, cache: Path) -> None:
        """Opens the file of answers; the model is started when something is asked that it does not hold.

        Args:
          config: the model.
          cache: file of JSON lines; plug-ins may share it, processes may not.

        Raises:
          InputError: the weights are missing, or the file of answers is damaged.
        """
        self._config = config
        weights = None if config.weights is None else _file_sha256(Path(config.weights))
        # An entry whose model is an option is named after that: one program runs many models.
        name = config.name or str(config.options.get("model") or config.entry or Path(config.command[0]).name)
        self.identity = PluginIdentity(name, config.version or package_version(config.entry), weights)
        # Weights count by their content, wherever they lie.
        run = {"command": config.command, "entry": config.entry, "options": dict(config.options)}
        asked = {**run, **dataclasses.asdict(self.identity)}
        self._key = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()
        self._lines = AppendedLines(cache)
        self._known = {
            (row["content_sha256"], kind): row[kind]
            for row in self._lines.rows
            if row.get("plugin_sha256") == self._key
            for kind in ("text", "score", "vector")
            if kind in row
        }

    def recognise(self, paths: Sequence[Path]) -> list[str]:
        """Returns what a recogniser hears in audio files, in their order.

        Raises:
          InputError: a file is missing, or the model fails, is not found, answers nonsense or leaves a file out.
        """
        return self._ask("text", [_audio(path) for path in paths])

    def mos(self, paths: Sequence[Path]) -> list[float]:
        """Returns the speech quality of audio files, in their order and on the scale of the model.

        Raises:
          InputError: as `recognise`.
        """
        return [float(one) for one in self._ask("score", [_audio(path) for path in paths])]

    def embed(self, texts: Sequence[str]) -> Float64[np.ndarray, "N D"]:
        """Returns the vectors of texts (one or more), a row each.

        Raises:
          InputError: as `recognise`, or the vectors have different lengths.
        """
        asked = [_Asked({"text": one}, hashlib.sha256(one.encode()).hexdigest(), repr(one[:40])) for one in texts]
        vectors = self._ask("vector", asked)
        if len({len(one) for one in vectors}) > 1:
            raise InputError(f"{self.identity.name}: it gives vectors of different lengths")
        return np.asarray(vectors, np.float64)

    def _ask(self, kind: str, asked: Sequence["_Asked"]) -> list[Any]:
        """Returns an answer for each question; equal content is asked once."""
        new = {one.content: one for one in asked if (one.content, kind) not in self._known}
        questions = {str(i): one for i, one in enumerate(new.values())}
        if questions:
            rows = [{"id": key, **one.question} for key, one in questions.items()]
            with contextlib.closing(self._answers(rows)) as answers:  # after an error, a command goes on no further
                for answer in answers:
                    key = str(answer.get("id"))
                    if key not in questions:
                        raise InputError(f"{self.identity.name}: it answers id {key!r}, which was not asked")
                    self._keep(questions[key], kind, answer)
        left = [one for one in new.values() if (one.content, kind) not in self._known]
        if left:
            raise InputError(f"{self.identity.name}: no answer for {left[0].name} and {len(left) - 1} others")
        return [self._known[one.content, kind] for one in asked]

    def _answers(self, questions: Sequence[Mapping[str, Any]]) -> Generator[Mapping[str, Any], None, None]:
        if self._config.entry is None:
            yield from command_answers(self._config.command, questions)
        else:
            yield from entry_answers(self._config.entry, self._config.options, questions)

    def _keep(self, asked: "_Asked", kind: str, answer: Mapping[str, Any]) -> None:
        value = answer.get(kind)
        if not _VALID[kind](value):
            raise InputError(f"{self.identity.name}: its answer for {asked.name} has no {kind}: {str(answer)[:100]}")
        self._known[asked.content, kind] = value
        self._lines.append(
            {"plugin_sha256": self._key, "name": self.identity.name, "content_sha256": asked.content, kind: value}
        )


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A question without its id, the hash of its content, and what errors call it."""

    question: Mapping[str, str]
    content: str
    name: str


def _audio(path: Path) -> _Asked:
    return _Asked({"audio": str(path)}, _file_sha256(path), str(path))


def _file_sha256(path: Path) -> str:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_vector(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_number, value))


_VALID: Final = {"text": lambda value: isinstance(value, str), "score": _is_number, "vector": _is_vector}
