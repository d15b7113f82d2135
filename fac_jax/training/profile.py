"""A trace of some steps, for XProf or TensorBoard."""

import dataclasses
import re
from typing import Any, Final, Self

import jax
from etils import epath

from fac_jax.io import LocalMirror
from fac_jax.parallel.hosts import log
from fac_jax.types import InputError

PROFILE: Final = "profile"  # folder of the traces under a stage's directory


@dataclasses.dataclass(frozen=True)
class ProfileWindow:
    """The steps of a stage that are traced: `steps` of them, from step `start`, counted from 1."""

    start: int
    steps: int

    @property
    def last(self) -> int:
        """The last step that is traced."""
        return self.start + self.steps - 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads "START:STEPS".

        Raises:
          InputError: the text is not two whole numbers from 1.
        """
        if not re.fullmatch(r"[1-9]\d*:[1-9]\d*", text):
            raise InputError(f'profile is "{text}"; give START:STEPS, two whole numbers from 1, such as 20:3')
        start, steps = map(int, text.split(":"))
        return cls(start, steps)


class StepProfiler:
    """Starts and stops the trace of a window around the steps of a loop; it does nothing without a window.

    `with StepProfiler(window, directory) as profiler:`, then `before(step)` and `after(step, outputs)` at every step.
    """

    def __init__(self, window: ProfileWindow | None, directory: epath.Path) -> None:
        self._window, self._folder = window, directory / PROFILE
        self._running: LocalMirror | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def before(self, step: int) -> None:
        """Starts the trace if the window starts with this step."""
        if self._window is not None and step == self._window.start:
            self._running = LocalMirror(self._folder)
            jax.profiler.start_trace(str(self._running.folder))

    def after(self, step: int, outputs: Any) -> None:
        """Waits for the outputs of the window's last step and stops the trace."""
        if self._running is not None and self._window is not None and step == self._window.last:
            jax.block_until_ready(outputs)
            self._stop()

    def _stop(self) -> None:
        if self._running is not None:
            jax.profiler.stop_trace()
            self._running.close()
            self._running = None
            log(f"profile of {self._window}: {self._folder}")
