"""The wrapper of every launcher: flags in, one line and exit code 2 for bad input, never a traceback for it.

`--config` takes a path, or the name of a config in the folder `configs` next to the launcher. Compiled programs are
kept between runs (`cache_compilations`).
"""

import _thread
import contextlib
import difflib
import inspect
import logging as python_logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from absl import app, flags, logging
from ml_collections.config_flags import config_flags

from fac_jax import config_files
from fac_jax.types import InputError, Terminated

BAD_INPUT = 2
INTERRUPTED = 130
AGAIN: Final = "the same command begins again"
RESUMES: Final = "the same command resumes from the last checkpoint, if there is one"
CACHE_VARIABLE: Final = "JAX_COMPILATION_CACHE_DIR"
CACHE_LEAST_VARIABLE: Final = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    f"Folder of compiled programs; {CACHE_VARIABLE} or a user's cache if absent; '' for none.",
)


def run(main: Callable[..., None], interrupted: str = AGAIN) -> None:
    """Parses absl flags, calls `main` with the words that are no flags, its parameters, and exits.

    `interrupted` says what is left after Ctrl-C.

    Exit codes: 0, also for `--help` and for a scheduler's SIGTERM once everything is saved; 2 with one line on stderr
    for wrong flags, unknown config keys, `InputError` and files that the system refuses (`--verbosity=1` shows where);
    130 for Ctrl-C.
    """
    _run(lambda words: main(*_taken(main, words, "")), interrupted, main)


def run_commands(commands: Mapping[str, Callable[..., None]]) -> None:
    """As `run`, for a launcher whose first word names a command; words after it are the command's parameters."""

    def main(words: Sequence[str]) -> None:
        if not words or words[0] not in commands:
            _refuse(f"give a command: {' | '.join(commands)}")
        name, *given = words
        commands[name](*_taken(commands[name], given, f"{name} "))

    _run(main, AGAIN, next(iter(commands.values())))


def cache_compilations(folder: str | None = None) -> None:
    """Keeps compiled programs in a folder, so that the next run does not compile them again.

    Args:
      folder: "" for no cache. If None, the folder of the environment variable JAX_COMPILATION_CACHE_DIR, else
        `fac_jax/jax` in the user's cache folder ($XDG_CACHE_HOME, ~/Library/Caches on a Mac, or ~/.cache); no cache if
        that folder cannot be made.

    Processes that are started afterwards use the same cache.
    """
    if folder is None:
        folder = os.environ.get(CACHE_VARIABLE)
    if folder is None:
        own = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
        path = Path(os.environ.get("XDG_CACHE_HOME") or own).expanduser() / "fac_jax" / "jax"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError:
            return
        folder = str(path)
    # jax reads these when it is imported. By default it keeps only what took a second, which few small programs do.
    os.environ[CACHE_VARIABLE] = folder
    least = os.environ.setdefault(CACHE_LEAST_VARIABLE, "0")
    if not folder:
        os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_compilation_cache_dir", folder or None)
        sys.modules["jax"].config.update("jax_persistent_cache_min_compile_time_secs", float(least))


def _taken(main: Callable[..., None], words: Sequence[str], name: str) -> Sequence[str]:
    """Returns the words, if `main` has a parameter for each; `*words` takes one or more."""
    parameters = inspect.signature(main).parameters.values()
    wanted = [parameter.name.upper() for parameter in parameters]
    some = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters)
    if len(words) > len(wanted) and not some:
        _refuse(f"unexpected argument {words[len(wanted)]}; options are written --name=value")
    if len(words) < sum(parameter.default is parameter.empty for parameter in parameters):
        _refuse(f"{wanted[len(words)]} is missing: the command takes {name}{' '.join(wanted)}")
    return words


def _run(main: Callable[[Sequence[str]], None], interrupted: str, launcher: Callable[..., None]) -> None:
    def parse(argv: Sequence[str]) -> list[str]:
        return _parse(argv, Path(inspect.getfile(launcher)).parent / "configs")

    def guarded(arguments: Sequence[str]) -> None:
        _show_log()
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)  # orbax and tensorflow-datasets report every step they take
        cache_compilations(CACHE.value)
        try:
            with _interrupts_kept():
                main(arguments[1:])
            sys.stdout.flush()
        except InputError as error:
            _refuse(str(error))
        except Terminated:
            print(f"terminated; {interrupted}", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"interrupted; {interrupted}", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except BrokenPipeError:  # who reads our output, `head` for example, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            logging.info("%s", error, exc_info=True)
            _refuse(_system_error(error))

    app.run(guarded, flags_parser=parse)


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Raises Ctrl-C again that came where Python ignores errors, as in jax's callback of the garbage collector."""
    before = sys.unraisablehook

    def again() -> None:
        time.sleep(0.01)  # until that callback is over
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)  # which wakes what waits there

    def seen(ignored: "sys.UnraisableHookArgs") -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            _thread.start_new_thread(again, ())  # not a Thread, whose locks may be held
        else:
            before(ignored)

    sys.unraisablehook = seen
    try:
        yield
    finally:
        sys.unraisablehook = before


def _show_log() -> None:
    """Shows what the library logs (`fac_jax.parallel.hosts.log`) on stderr."""
    logger = python_logging.getLogger("fac_jax")
    if not logger.handlers:
        shown = python_logging.StreamHandler(sys.stderr)
        shown.setFormatter(python_logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(shown)
        logger.propagate = False
    logger.setLevel(python_logging.INFO)


def _parse(argv: Sequence[str], shipped: Path) -> list[str]:
    """Parses the flags; returns the words that are none."""
    values = flags.FLAGS
    values.set_gnu_getopt()  # words and options in any order
    values.register_key_flag_for_module(sys.argv[0], values[CACHE.name])  # so that --help lists it
    parsers: dict[str, config_files.Parser] = {}
    for name in values:
        if config_flags.is_config_flag(values[name]) and "." not in name:
            parsers[name] = config_files.Parser(shipped)
            values[name].parser = parsers[name]
    try:
        return values(argv)
    except SystemExit:  # absl leaves with 1 after --help
        sys.exit(0)
    except flags.Error as error:
        _refuse(_flag_error(error))
    except (AttributeError, KeyError):  # what ml_collections raises for a key that the config lacks
        for name, parser in parsers.items():
            message = config_files.unknown_key(parser.config, name, argv) if parser.config is not None else None
            if message is not None:
                _refuse(message)
        raise


def _flag_error(error: flags.Error) -> str:
    """Rewrites what absl says of a flag in plain words."""
    missing = re.search(r"[Ff]lag --(\S+) must have a value other than None", str(error))
    if missing:
        return f"--{missing[1]} is missing"
    if isinstance(error, flags.UnrecognizedFlagError):
        first = error.flagname.split(".")[0]
        if first in flags.FLAGS and config_flags.is_config_flag(flags.FLAGS[first]):
            return f"--{first} is missing: --{first}=NAME comes before --{error.flagname}"
        own = [name for name in flags.FLAGS if not name.startswith("help")]
        near = difflib.get_close_matches(error.flagname, own, n=1)
        return f"unknown option --{error.flagname}" + (f"; did you mean --{near[0]}?" if near else "")
    return str(error).removeprefix("flag ")


def _system_error(error: OSError) -> str:
    """One line that names the file which the system refuses."""
    if error.filename is None or error.strerror is None:
        return str(error) or type(error).__name__
    files = [os.fsdecode(file) for file in (error.filename, error.filename2) if isinstance(file, str | bytes)]
    return f"{' -> '.join(files) or error.filename}: {error.strerror}"


def _refuse(message: str) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(BAD_INPUT)
