"""Launchers inside a test's own process, where the flags of two would collide."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

from absl import flags


@contextlib.contextmanager
def imported(name: str) -> Iterator[ModuleType]:
    """The launcher of that full name, alone with its flags: those of other launchers come back afterwards."""
    known = flags.FLAGS
    owners = {flag: str(known.find_module_defining_flag(flag)) for flag in known}
    launchers = ("experiments.", "data_pipelines.")
    others = {flag: known[flag] for flag, owner in owners.items() if owner.startswith(launchers)}
    for flag in others:
        delattr(known, flag)
    cached = sys.modules.pop(name, None)
    before = set(known)
    try:
        yield importlib.import_module(name)
    finally:
        sys.modules.pop(name, None)
        if cached is not None:
            sys.modules[name] = cached
        for flag in set(known) - before:
            delattr(known, flag)
        for flag, value in others.items():
            known[flag] = value
            known.register_flag_by_module(owners[flag], value)


def called(name: str, *arguments: str) -> None:
    """Calls the launcher's `main`, or its command, in this process; an `InputError` is not caught."""
    with imported(name) as launcher:
        known = flags.FLAGS
        known.set_gnu_getopt()
        _, *words = known([name, *arguments])
        if hasattr(launcher, "COMMANDS"):
            launcher.COMMANDS[words[0]](*words[1:])
        else:
            launcher.main(*words)
