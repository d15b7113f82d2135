"""The wrapper of every launcher: flags in, one line and exit code 2 for bad input, never a traceback for it."""

import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from fac_jax.types import InputError, Terminated

BAD_INPUT = 2
INTERRUPTED = 130
GOES_ON: Final = "the same command goes on from the last checkpoint"


def run(main: Callable[..., None], interrupted: str = GOES_ON) -> None:
    """Parses absl flags, calls `main` with the words that are no flags, its parameters, and exits.

    `interrupted` says what is left after Ctrl-C.

    Exit codes: 0, also for a scheduler's SIGTERM once everything is saved; 2 with one line on stderr for wrong flags,
    unknown config keys and `InputError`; 130 for Ctrl-C.
    """
    _run(lambda words: main(*_taken(main, words, "")), interrupted)


def run_commands(commands: Mapping[str, Callable[..., None]]) -> None:
    """As `run`, for a launcher whose first word names a command; words after it are the command's parameters."""

    def main(words: Sequence[str]) -> None:
        if not words or words[0] not in commands:
            _refuse(f"give a command: {' | '.join(commands)}")
        name, *given = words
        commands[name](*_taken(commands[name], given, f"{name} "))

    _run(main, GOES_ON)


def config(flag: flags.FlagHolder[ConfigDict]) -> ConfigDict:
    """Returns the value of a `DEFINE_config_file` flag.

    Raises:
      InputError: the file does not exist.
    """
    file = config_flags.get_config_filename(flags.FLAGS[flag.name])
    if not Path(file.split(":")[0]).is_file():
        raise InputError(f"--{flag.name}={file}: no such file")
    return flag.value


def _taken(main: Callable[..., None], words: Sequence[str], name: str) -> Sequence[str]:
    """The words, if there are as many as `main` has parameters; `*words` takes one or more."""
    parameters = inspect.signature(main).parameters.values()
    wanted = [parameter.name.upper() for parameter in parameters]
    some = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if len(words) > len(wanted) and not some:
        _refuse(f"unexpected argument {words[len(wanted)]}; options are written --name=value")
    if len(words) < len(wanted):
        _refuse(f"{wanted[len(words)]} is missing: {name}{' '.join(wanted)}")
    return words


def _run(main: Callable[[Sequence[str]], None], interrupted: str) -> None:
    def guarded(arguments: Sequence[str]) -> None:
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax and tensorflow-datasets tell every step they take
        try:
            main(arguments[1:])
        except InputError as error:
            _refuse(str(error))
        except Terminated:
            print(f"terminated; {interrupted}", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"interrupted; {interrupted}", file=sys.stderr)
            sys.exit(INTERRUPTED)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    flags.FLAGS.set_gnu_getopt()  # words and options in any order
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _refuse(str(error))
    except (AttributeError, KeyError) as error:  # what ml_collections raises for a key that the config lacks
        _refuse(_unknown_key(str(error), argv))


def _unknown_key(told: str, argv: Sequence[str]) -> str:
    """Rewrites what ml_collections says of a key, so that the whole option is named."""
    names = re.findall(r"\w+", told)
    options = [word.split("=")[0] for word in argv if word.startswith("--")]
    option = next((option for option in options if names[0] in option.split(".")), names[0])
    near = re.search(r"Did you mean \W*(\w+)", told)
    return f"unknown config key {option}" + (f"; did you mean {near[1]}?" if near else "")


def _refuse(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(BAD_INPUT)
