"""A bar for work on many items: what is done, the rate and the time left, on stderr if it is a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")
Advance: TypeAlias = Callable[[int], None]


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """Nothing before there is a rate."""
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


@contextlib.contextmanager
def bar(what: str, total: int | None) -> Iterator[Advance]:
    """Shows how many of `total` items are done (None for an unknown number); gives what is called with more of them."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    # Lines that go to a file must not go through the bar, which is drawn on stderr.
    drawn = {"disable": not console.is_terminal, "redirect_stdout": sys.stdout.isatty()}
    with Progress(*columns, console=console, **drawn) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.update(task, advance=count)


def passing(what: str, total: int | None) -> Callable[[Iterable[T]], Iterator[T]]:
    """Passes items on while a bar shows that they pass."""

    def passed(items: Iterable[T]) -> Iterator[T]:
        with bar(what, total) as advance:
            for item in items:
                yield item
                advance(1)

    return passed


def shown(what: str) -> Callable[[Iterable[T]], Iterator[T]]:
    """`passing` of items that are counted before the first is passed on."""

    def counted(items: Iterable[T]) -> Iterator[T]:
        known = list(items)
        return passing(what, len(known))(known)

    return counted
