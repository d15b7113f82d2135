"""What a model said in the calls of the scenarios: made once, kept on disk, and taken up where a run was stopped."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from experiments.calls.scripted import Scripted
from fac_jax.api import Model
from fac_jax.audio.mel import RATE
from fac_jax.batching.question import single_turn
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.duplex.call import GROUP, Turn
from fac_jax.evaluation.appended import AppendedLines
from fac_jax.evaluation.benchmarks.duplex.voice_activity import VoiceActivity
from fac_jax.evaluation.calls.base import Reply, replies_of
from fac_jax.evaluation.calls.half_duplex import LONGEST, SILENCES, Said, UserTurn, take_turns, user_turns
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.finished import Asked, Finished, run_calls
from fac_jax.generation.duplex.live_call import CallOptions
from fac_jax.generation.slots import Decoding
from fac_jax.io import write_text
from fac_jax.progress import bar
from fac_jax.types import InputError

AT_ONCE: Final = 500  # calls whose waves are in memory
MOST_STEPS: Final = 64  # text ids of a reply of the baseline
DIGITS: Final = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Called:
    """What a full-duplex model did in a call: its turns, and in every slot the probability that a turn changes."""

    turns: tuple[Turn, ...]
    chances: tuple[float, ...]


class Predictions:
    """The finished calls of one setting, a line each in a file.

    Attributes:
      found: by the key of the call.
    """

    def __init__(self, file: Path) -> None:
        """Reads what an earlier run has made; raises as `AppendedLines`."""
        self._lines = AppendedLines(file)
        self.found = {row["call"]: _called(row) for row in self._lines.rows}

    def run(self, name: str, calls: Calls, scripted: Sequence[Scripted], options: CallOptions) -> None:
        """Runs the calls that are not there yet, the longest first, so that no place waits for long.

        Args:
          name: of the setting, for the bar.
          calls: places, all of them free.
          scripted: calls.
          options: how each is answered.

        Raises:
          InputError: the user's channel of a call cannot be read.
        """
        left = sorted((one for one in scripted if one.key not in self.found), key=lambda one: -one.script.slots)
        with bar(f"slots, {name}", sum(one.script.slots - 1 for one in left)) as advance:
            for start in range(0, len(left), AT_ONCE):
                some = left[start : start + AT_ONCE]
                asked = [Asked(one.system, one.user(), options) for one in some]
                for number, finished in run_calls(calls, asked, advance):
                    self._add(some[number].key, finished)
        self._lines.close()

    def replies(self, one: Scripted, model: Model) -> list[Reply]:
        """Returns what was heard of the model in a call that was run."""
        return replies_of(self.found[one.key].turns, lambda ids: model.tokenizer.decode(ids.tolist()))

    def _add(self, key: str, finished: Finished) -> None:
        turns = [
            {
                "opening": turn.opening,
                "closing": turn.closing,
                "text_ids": turn.text_ids.tolist(),
                "groups": turn.groups.tolist(),
                "cut": turn.cut,
            }
            for turn in finished.turns
        ]
        row = {"call": key, "turns": turns, "chances": [round(step.chance, DIGITS) for step in finished.steps]}
        self._lines.append(row)
        self.found[key] = _called(row)


def _called(row: Mapping[str, Any]) -> Called:
    turns = (
        Turn(
            turn["opening"],
            turn["closing"],
            np.array(turn["text_ids"], np.int32),
            np.array(turn["groups"], np.int32).reshape(-1, GROUP),
            turn["cut"],
        )
        for turn in row["turns"]
    )
    return Called(tuple(turns), tuple(row["chances"]))


class Baseline:
    """A half-duplex model behind a detector of speech, for every silence that ends a turn; it answers a clip once."""

    def __init__(self, model: Model, detector: VoiceActivity, file: Path) -> None:
        """Takes a model, a detector, and a file of answers, which may have some of an earlier run."""
        self._model, self._detector = model, detector
        self._lines = AppendedLines(file)
        self._said = {row["clip"]: Said(row["text"], row["samples"]) for row in self._lines.rows}

    def replies(self, scripted: Sequence[Scripted]) -> dict[float, list[list[Reply]]]:
        """Returns by silence in seconds the replies that are heard in every call.

        Raises:
          InputError: the user's channel of a call cannot be read.
        """
        speech = []
        with bar("calls, detector", len(scripted)) as advance:
            for one in scripted:
                speech.append(self._detector(one.user(), RATE))
                advance(1)
        turns = {silence: [user_turns(found, silence) for found in speech] for silence in SILENCES}
        self._answer(scripted, turns)

        def heard(one: Scripted, found: Sequence[UserTurn], silence: float) -> list[Reply]:
            return take_turns(found, silence, _samples(one), lambda turn: self._said[_name(one, turn)])

        return {
            silence: [heard(one, found, silence) for one, found in zip(scripted, of_calls, strict=True)]
            for silence, of_calls in turns.items()
        }

    def _answer(self, scripted: Sequence[Scripted], turns: Mapping[float, Sequence[Sequence[UserTurn]]]) -> None:
        """Answers all clips that have no answer yet, those of similar length side by side."""
        clips: dict[str, tuple[Scripted, UserTurn]] = {}
        for of_calls in turns.values():
            for one, found in zip(scripted, of_calls, strict=True):
                clips |= {_name(one, turn): (one, turn) for turn in found}
        left = sorted(((name, *clip) for name, clip in clips.items() if name not in self._said), key=_longest_first)
        decoding = Decoding("joint", MOST_STEPS)
        with bar("clips, half-duplex model", len(left)) as advance:
            for some in _portions(left, AT_ONCE):
                asked = [single_turn(name, _clip(one, turn), RATE, "s2s", "", None) for name, one, turn in some]
                for (name, _, _), reply in zip(some, self._model.respond_to(asked, decoding, 0), strict=True):
                    said = Said(reply.text.strip(), len(reply.units) * RATE // TOKEN_RATE)
                    self._lines.append({"clip": name, "text": said.text, "samples": said.samples})
                    self._said[name] = said
                    advance(1)
        self._lines.close()


def check_made_with(folder: Path, made_with: Mapping[str, Any]) -> None:
    """Notes what the predictions of a folder are made with, or refuses one whose predictions are of something else.

    Raises:
      InputError: they were made with something else.
    """
    file = folder / "made_with.json"
    known = json.loads(file.read_text()) if file.exists() else dict(made_with)
    for key in made_with:
        if known.get(key) != made_with[key]:
            raise InputError(
                f"{folder} has predictions of {key}={known.get(key)}, not {made_with[key]}: name another --out, "
                "or remove that folder"
            )
    write_text(file, json.dumps(known, indent=1) + "\n")


def _name(one: Scripted, turn: UserTurn) -> str:
    start, end = turn.clip(_samples(one))
    return f"{one.key}/{start}-{end}"


def _clip(one: Scripted, turn: UserTurn) -> np.ndarray:
    start, end = turn.clip(_samples(one))
    return one.user()[start:end]


def _samples(one: Scripted) -> int:
    return one.script.slots * RATE // 5


def _longest_first(clip: tuple[str, Scripted, UserTurn]) -> int:
    return -min(clip[2].end - clip[2].start, LONGEST)


def _portions(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (values[start : start + size] for start in range(0, len(values), size))
