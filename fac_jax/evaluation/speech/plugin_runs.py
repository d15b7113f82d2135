"""Runs of a plug-in: questions to a command or a Python function, and its answers as they come."""

import contextlib
import importlib
import inspect
import json
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

from fac_jax.evaluation.speech.recognisers import BUILT_IN
from fac_jax.types import InputError

Row = Mapping[str, Any]


def command_answers(command: Sequence[str], questions: Iterable[Row]) -> Iterator[Row]:
    """Starts a command, gives it questions as JSON lines, and yields the JSON lines that it writes.

    The command is killed if it is still running when the caller stops reading.

    Raises:
      InputError: the command cannot be started, exits with a code other than 0, or writes a line that is no JSON
        object.
    """
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        except OSError as error:
            raise InputError(f"{command[0]}: the command cannot be started: {error.strerror}") from error
        assert process.stdin is not None and process.stdout is not None
        # A thread, since a command may write answers before it has read all questions.
        writer = threading.Thread(target=_write, args=(process.stdin, questions), daemon=True)
        writer.start()
        try:
            for line in process.stdout:
                if line.strip():
                    yield _parsed(line, command[0])
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            writer.join()
            process.stdout.close()
        if code:
            errors.seek(0)
            said = errors.read().decode(errors="replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), "it wrote nothing to stderr")
            raise InputError(f"{command[0]}: the command failed with exit code {code}: {last}")


def entry_answers(entry: str, options: Mapping[str, Any], questions: Iterable[Row]) -> Iterable[Row]:
    """Calls the function of an entry with questions and options.

    Args:
      entry: "package.module:function", or a name of `BUILT_IN`.
      options: keyword arguments.
      questions: objects with "id", and "audio" or "text".

    Raises:
      InputError: there is no such function, or it does not take these options.
    """
    function = _function(entry)
    try:
        inspect.signature(function).bind(questions, **options)
    except TypeError as error:
        raise InputError(f"{entry}: its options are wrong: {error}") from error
    return function(questions, **options)


def _function(entry: str) -> Callable[..., Iterable[Row]]:
    module, colon, name = entry.partition(":")
    if not colon:
        if entry not in BUILT_IN:
            raise InputError(f"{entry}: no such plug-in; known: {', '.join(BUILT_IN)}; or give package.module:function")
        return BUILT_IN[entry].function
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{entry} cannot be imported: {error}") from error


def _write(pipe: IO[bytes], questions: Iterable[Row]) -> None:
    with contextlib.suppress(BrokenPipeError), pipe:  # a command that ends early is told by its exit code
        for question in questions:
            pipe.write(json.dumps(question).encode() + b"\n")


def _parsed(line: bytes, name: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        shown = line.decode(errors="replace").strip()[:80]
        raise InputError(f"{name}: the command wrote a line that is no JSON object: {shown}")
    return row
