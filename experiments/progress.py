"""A bar for work on many items."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

T = TypeVar("T")


class RateColumn(ProgressColumn):
    """Items a second."""

    def render(self, task: Task) -> Text:
        """Nothing before there is a rate."""
        return Text(f"{task.speed:.0f}/s" if task.speed else "")


def shown(what: str) -> Callable[[Iterable[T]], Iterator[T]]:
    """Passes items on and shows on stderr, if it is a terminal, how many are done, the rate and the time left."""

    def wrap(items: Iterable[T]) -> Iterator[T]:
        items = list(items)
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), RateColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            yield from progress.track(items, total=len(items))

    return wrap
