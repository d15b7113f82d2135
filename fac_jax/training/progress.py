"""The progress of a running stage on a terminal or in a log."""

import time
from collections import deque
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from fac_jax.parallel.hosts import is_first

RECENT = 20  # steps that a rate is averaged over
LINES = 10  # lines a stage prints where there is no terminal


class Rates:
    """Rates of the most recent steps, in amounts per second."""

    def __init__(self, peak: float | None = None) -> None:
        """Takes the peak FLOP/s of the devices, for the model FLOPs utilisation (MFU); None if it is not known."""
        self._peak = peak
        self._marks: deque[tuple[float, dict[str, float]]] = deque(maxlen=RECENT + 1)

    def add(self, amounts: dict[str, float]) -> dict[str, float]:
        """Counts a step that ends now, and the amounts that it handled, "flops" among them.

        There are no rates after the first step, which includes the compilation.

        Returns:
          `NAME_per_second` for every amount, `steps_per_second`, and `mfu` where the peak is known.
        """
        self._marks.append((time.monotonic(), amounts))
        elapsed = max(self._marks[-1][0] - self._marks[0][0], 1e-6)
        recent = [handled for _, handled in list(self._marks)[1:]]
        if not recent:
            return {}
        rates = {"steps_per_second": len(recent) / elapsed}
        rates |= {f"{name}_per_second": sum(step[name] for step in recent) / elapsed for name in amounts}
        if self._peak:
            rates["mfu"] = rates["flops_per_second"] / self._peak
        return rates

    def leave_out(self, seconds: float) -> None:
        """Takes seconds since the last step in which no step ran, those of an evaluation, out of the rates."""
        self._marks = deque(((end + seconds, handled) for end, handled in self._marks), maxlen=RECENT + 1)


class StageProgress:
    """A progress bar on a terminal, or a few lines elsewhere: loss, rates per second, MFU and the time left.

    Only the first of several hosts shows it.
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

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, step: int, loss: float, rates: dict[str, float]) -> None:
        """Shows a finished step."""
        status = f"loss {loss:.4f}"
        if rates:
            left = round((self._steps - step) / rates["steps_per_second"])
            status += f"  {rates['steps_per_second']:.2f} steps/s"
            status += f"  {rates['audio_seconds_per_second']:.1f} s audio/s"
            status += f"  {rates['flops_per_second'] / 1e12:.3g} TFLOP/s"
            status += f"  MFU {rates['mfu']:.1%}" if "mfu" in rates else ""
            status += f"  {left // 3600}:{left // 60 % 60:02}:{left % 60:02} left"
        self._bar.update(self._task, completed=step, status=status)
        if not self._console.is_terminal and (step % self._every == 0 or step == self._steps):
            self._console.print(f"{self._name}  {step}/{self._steps}  {status}", soft_wrap=True)
