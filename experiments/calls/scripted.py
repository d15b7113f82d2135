"""The scenarios of a folder of calls, as scorers read them, and the user's waves."""

import dataclasses
import hashlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np
from jaxtyping import Float32

from data_pipelines.importers import calls
from data_pipelines.records.audio import with_waves
from data_pipelines.records.call import system_of
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected, RejectedError, formatted
from fac_jax.duplex.call import SLOT
from fac_jax.evaluation.calls.base import Reply, Scenario, Script
from fac_jax.evaluation.calls.scenarios import SCORERS
from fac_jax.types import InputError

SCENARIOS: Final[Sequence[Scenario]] = tuple(SCORERS)


@dataclasses.dataclass(frozen=True, eq=False)
class Scripted:
    """A call of a scenario.

    Attributes:
      scenario: its name.
      script: what happens in it.
      record: its row, whose audio is not decoded.
    """

    scenario: Scenario
    script: Script
    record: Record

    @property
    def key(self) -> str:
        """Returns a name that no other call has."""
        return f"{self.scenario}/{self.script.id}"

    @property
    def system(self) -> str:
        """Returns the system prompt."""
        return system_of(self.record)

    def user(self) -> Float32[np.ndarray, " N"]:
        """Reads the user's channel, of whole slots.

        Raises:
          InputError: it cannot be read, or is not as long as the call.
        """
        try:
            first = with_waves(dataclasses.replace(self.record, messages=self.record.messages[:1])).messages[0]
        except RejectedError as error:
            raise InputError(f"{self.record.file}, line {self.record.line}: {error}") from None
        assert first.audio is not None and first.audio.wave is not None
        if len(first.audio.wave) != self.script.slots * SLOT:
            seconds, wanted = len(first.audio.wave) / (5 * SLOT), self.script.slots / 5
            raise InputError(
                f"{self.record.file}, line {self.record.line}: the user's channel has {seconds:g} s, "
                f"{self.script.slots} slots have {wanted:g} s"
            )
        return first.audio.wave


def read_scenarios(folder: Path, names: Sequence[str], rows: int | None) -> list[Scripted]:
    """Returns the first `rows` calls (all for None) of scenarios, each a folder of `folder`.

    Raises:
      InputError: an unknown scenario, a folder without calls, a call that is no call, or without its scenario's event.
    """
    unknown = [name for name in names if name not in SCORERS]
    if unknown:
        raise InputError(f"there is no scenario {unknown[0]}; known: {', '.join(SCENARIOS)}")
    found: list[Scripted] = []
    for name in names:
        records = calls.read(folder, folder, name)
        found += [_scripted(cast(Scenario, name), record) for record in itertools.islice(records, rows)]
    return found


def digest(folder: Path) -> str:
    """Returns hexadecimal digits that change when a call of a scenario does, wherever the folder lies."""
    found = hashlib.blake2b(digest_size=8)
    for name in SCENARIOS:
        file = folder / name / calls.CALLS
        if file.is_file():
            found.update(name.encode() + file.read_bytes())
    return found.hexdigest()


def _scripted(scenario: Scenario, record: Record | Rejected) -> Scripted:
    if isinstance(record, Rejected):
        raise InputError(formatted(record))
    timing = record.timing
    assert timing is not None
    replies = tuple(
        Reply(timing.audible(turn) * SLOT, turn.closing * SLOT, message.text)
        for turn, message in zip(timing.turns, record.messages[1:], strict=True)
    )
    script = Script(record.id, timing.slots, timing.events, replies)
    try:
        SCORERS[scenario](script, [])
    except (StopIteration, ValueError, IndexError):
        where = f"{record.file}, line {record.line}"
        raise InputError(f"{where}: call {record.id} has not the events and turns of scenario {scenario}") from None
    return Scripted(scenario, script, record)
