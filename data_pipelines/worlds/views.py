"""The one table of what can be trained on in the toy world: every view by name, its stored splits and its records."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from data_pipelines.records.record import Record, to_conversation
from data_pipelines.worlds.pairs import CAPABILITIES, pair_records
from data_pipelines.worlds.schema import PAIR_SPLITS
from data_pipelines.worlds.storage import read_rows
from data_pipelines.worlds.tasks import TASKS, task_records
from fac_jax.batching.conversation import Conversation
from fac_jax.types import InputError

# The preference pairs by the names that a mixture calls them: their task, and whether the replies are spoken.
PREFERENCES: Final = {
    "robustness": ("robustness", False),
    "robustness_spoken": ("robustness", True),
    "instruction_spoken": ("instruction", True),
    "understanding": ("understanding", False),
    "empathy_spoken": ("empathy", True),
}


@dataclasses.dataclass(frozen=True)
class View:
    """One way to read the toy world.

    Attributes:
      splits: the stored split (`schema.SPLITS`, `schema.PAIR_SPLITS`) of each split that a run asks for: "train" for
        training, "dev" and "test" for evaluation.
      records: turns the rows of a stored split into records, in their order; ids are unique over all views but the
        preference pairs, whose ids are the rows'.
      kinds: kinds of rows that it needs (`storage.read_rows`); None for all.
      augmented: whether users' waves may be changed in training (`DataConfig.waves`): no answer is about their sound.
    """

    splits: Mapping[str, str]
    records: Callable[[Iterable[Any]], Iterator[Record]]
    kinds: tuple[str, ...] | None = None
    augmented: bool = False


VIEWS: Final[Mapping[str, View]] = {
    **{
        name: View(
            {"train": task.split, "dev": "dev", "test": "test"},
            partial(task_records, name),
            task.kinds,
            augmented=task.user == "speech",
        )
        for name, task in TASKS.items()
    },
    **{name: View(PAIR_SPLITS, make) for name, make in CAPABILITIES.items()},
    **{name: View(PAIR_SPLITS, partial(pair_records, *found)) for name, found in PREFERENCES.items()},
}


def conversations(rows: Iterable[Any], view: str) -> list[Conversation]:
    """Returns the conversations of a view over the rows that have it, in their order; they share the rows' arrays.

    Raises:
      InputError: the view is not known, or no row has it.
    """
    if view not in VIEWS:
        raise InputError(f"unknown task {view!r}; known: {', '.join(VIEWS)}")
    found = [to_conversation(record) for record in VIEWS[view].records(rows)]
    if not found:
        raise InputError(f"no row has the task {view!r}")
    return found


def read(path: Path, root: Path, view: str = "asr", split: str | None = None) -> Iterator[Record]:
    """Reads the records of a view in a fixed order, those of "train" if no split is named; `root` is not needed.

    Raises:
      InputError: the folder holds no toy world, the view has no such split, or the split has no row of the view.
    """
    name, chosen = split or "train", VIEWS[view]
    if name not in chosen.splits:
        raise InputError(f"{path}: the view {view!r} has no split {name!r}; it has {', '.join(chosen.splits)}")
    number = 0
    rows = read_rows(path, chosen.splits[name], chosen.kinds)
    for number, record in enumerate(chosen.records(rows), 1):
        yield dataclasses.replace(record, file=str(path), line=number)
    if not number:
        raise InputError(f"{path}: the split {name!r} has no row of the view {view!r}")
