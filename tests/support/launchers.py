"""Launchers inside a test's own process, where the flags of two would collide."""

import contextlib
import importlib
import io
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from unittest import mock

import pytest
from absl import flags
from absl.testing import flagsaver

from fac_jax import cli


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


def launched(name: str, *words: str, required: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    """Runs the launcher in this process as `python -m NAME WORDS ..` does; returns its exit code and what it printed.

    A process of its own takes seconds until everything is imported. `required` are flags that the launcher marks as
    required when it is the program.
    """
    out, err, library = io.StringIO(), io.StringIO(), logging.getLogger("fac_jax")
    with contextlib.ExitStack() as stack:
        launcher = stack.enter_context(imported(name))
        stack.enter_context(flagsaver.flagsaver())
        flags.mark_flags_as_required(required)
        stack.enter_context(mock.patch.object(sys, "argv", [name, *words]))
        stack.enter_context(mock.patch.multiple(library, handlers=[], propagate=library.propagate))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        exited = stack.enter_context(pytest.raises(SystemExit))
        if hasattr(launcher, "COMMANDS"):
            cli.run_commands(launcher.COMMANDS)
        else:
            cli.run(launcher.main)
    return subprocess.CompletedProcess(words, int(exited.value.code or 0), out.getvalue(), err.getvalue())
