"""A bar on a terminal: what is done, the rate and the time left."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
Advance: TypeAlias = Callable[[int], None]


@contextlib.contextmanager
def shown(what: str, total: int | None) -> Iterator[Advance]:
    """Shows on stderr, if it is a terminal, how many of `total` rows are done; gives what is called with more."""
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=total, rate="")

        def advance(count: int) -> None:
            speed = progress.tasks[0].speed
            progress.update(task, advance=count, rate="" if speed is None else f"{speed:.0f} rows/s")

        yield advance


def passing(what: str, total: int | None) -> Callable[[Iterable[T]], Iterator[T]]:
    """Passes items on while a bar shows that they pass."""

    def watched(items: Iterable[T]) -> Iterator[T]:
        with shown(what, total) as advance:
            for item in items:
                yield item
                advance(1)

    return watched
