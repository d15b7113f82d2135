"""Ctrl-C and a scheduler's SIGTERM, deferred until the end of a step."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType

from fac_jax.types import Terminated

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[Callable[[], type[KeyboardInterrupt] | None]]:
    """Yields a function that returns which interrupt came, or None; a second interrupt acts at once.

    It works in the main thread only.
    """
    came: type[KeyboardInterrupt] | None = None
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: came
    finally:
        restore()
