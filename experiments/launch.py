"""The wrapper of every launcher: flags in, one line and exit code 2 for bad input, never a traceback for it."""

import sys
from collections.abc import Callable, Sequence

from absl import app, flags

from fac_jax.types import InputError

BAD_INPUT = 2
INTERRUPTED = 130


def run(main: Callable[[], None]) -> None:
    """Parses absl flags, calls `main`, and exits.

    Exit codes: 0; 2 with one line on stderr for wrong flags, unknown config keys and `InputError`; 130 for Ctrl-C.
    """

    def guarded(arguments: Sequence[str]) -> None:
        if len(arguments) > 1:
            _refuse(f"unexpected argument {arguments[1]}; options are written --name=value")
        try:
            main()
        except InputError as error:
            _refuse(str(error))
        except KeyboardInterrupt:
            print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
            sys.exit(INTERRUPTED)

    app.run(guarded, flags_parser=_parse)


def _parse(argv: Sequence[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _refuse(str(error))
    except (AttributeError, KeyError) as error:  # what ml_collections raises for a key that the config lacks
        key = str(error).strip("'\"")
        given = next((word for word in argv if key in word.split("=")[0].split(".")), key)
        _refuse(f"unknown config key {key} in {given}")


def _refuse(message: str) -> None:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(BAD_INPUT)
