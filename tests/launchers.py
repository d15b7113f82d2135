"""Launchers inside a test's own process, where the flags of two would collide."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

from absl import flags


@contextlib.contextmanager
def imported(name: str) -> Iterator[ModuleType]:
    """The launcher `experiments.NAME`, alone with its flags: those of other launchers come back afterwards."""
    module, known = f"experiments.{name}", flags.FLAGS
    others = {
        flag: known[flag]
        for flag in list(known)
        if str(known.find_module_defining_flag(flag)).startswith("experiments.")
    }
    for flag in others:
        delattr(known, flag)
    before = set(known)
    try:
        yield importlib.import_module(module)
    finally:
        sys.modules.pop(module, None)
        for flag in set(known) - before:
            delattr(known, flag)
        for flag, value in others.items():
            known[flag] = value
