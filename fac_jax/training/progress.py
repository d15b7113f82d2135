"""What a person sees of a running stage."""

import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from fac_jax.parallel.hosts import is_first

RECENT = 20  # steps that a rate is averaged over
LINES = 10  # lines a stage prints where there is no terminal


class Rates:
    """Steps and audio seconds per second over the most recent steps."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, float]] = deque(maxlen=RECENT + 1)

    def add(self, audio_seconds: float) -> dict[str, float]:
        """Counts a step that ends now; nothing is known after the first one, which held the compilation."""
        self._marks.append((time.monotonic(), audio_seconds))
        elapsed = max(self._marks[-1][0] - self._marks[0][0], 1e-6)
        steps = len(self._marks) - 1
        if not steps:
            return {}
        audio = sum(seconds for _, seconds in list(self._marks)[1:])
        return {"steps_per_second": steps / elapsed, "audio_seconds_per_second": audio / elapsed}


class StageProgress:
    """A bar on a terminal, a few lines elsewhere: loss, steps/s, seconds of audio per second, time left.

    Of several hosts the first shows it.
    """

    def __init__(self, name: str, start: int, steps: int, console: Console | None = None) -> None:
        self._name, self._steps = name, steps
        self._console = console or Console(highlight=False, quiet=not is_first())
        self._every = max(steps // LINES, 1)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: TaskID = self._bar.add_task(name, total=steps, completed=start, status="compiling")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, step: int, loss: float, rates: dict[str, float]) -> None:
        """Shows a finished step."""
        status = f"loss {loss:.4f}"
        if rates:
            left = round((self._steps - step) / rates["steps_per_second"])
            status += f"  {rates['steps_per_second']:.2f} steps/s"
            status += f"  {rates['audio_seconds_per_second']:.1f} s audio/s"
            status += f"  {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        self._bar.update(self._task, completed=step, status=status)
        if not self._console.is_terminal and (step % self._every == 0 or step == self._steps):
            self._console.print(f"{self._name}  {step}/{self._steps}  {status}", soft_wrap=True)
