"""Counts the programs that jax compiles, or reads from its compilation cache, while an engine should compile none."""

import weakref
from typing import Any, Final

import jax
from prometheus_client import Counter

EVENT: Final = "/jax/core/compile/backend_compile_duration"

_counting: "weakref.WeakSet[Compilations]" = weakref.WeakSet()


class Compilations:
    """Counts compilations of the process from `begin` on.

    Attributes:
      count: how many there were.
      names: of the programs.
    """

    def __init__(self, counter: Counter) -> None:
        """Takes the counter of the metrics."""
        self.count, self.names, self._counter = 0, list[str](), counter

    def begin(self) -> None:
        """Counts from now on."""
        if not _listens:
            jax.monitoring.register_event_duration_secs_listener(_note)
            _listens.append(True)
        _counting.add(self)

    def add(self, name: str) -> None:
        """Counts one."""
        self.count += 1
        self.names.append(name)
        self._counter.inc()


_listens: list[bool] = []  # a listener cannot be taken back: there is one for all


def _note(event: str, duration_secs: float, **about: Any) -> None:
    if event == EVENT:
        for one in list(_counting):
            one.add(str(about.get("fun_name")))
