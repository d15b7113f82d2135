"""The console command `fac-jax`, which starts every launcher by its name from any folder.

fac-jax quickstart --workdir runs/quickstart
fac-jax train --config=quickstart --workdir runs/mine
fac-jax train --help
"""

import ast
import importlib.util
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fac_jax import __version__

COMMANDS: Final[Mapping[str, str]] = {
    "quickstart": "experiments.quickstart",
    "train": "experiments.train",
    "evaluate": "experiments.evaluate",
    "score": "experiments.score",
    "full-duplex": "experiments.full_duplex",
    "score-calls": "experiments.score_calls",
    "score-live": "experiments.score_live",
    "listen": "experiments.listen",
    "robustness": "experiments.robustness",
    "generate": "experiments.generate",
    "converse": "experiments.converse",
    "serve": "experiments.serve",
    "load-test": "experiments.load_test",
    "post-training": "experiments.post_training",
    "convert": "experiments.convert",
    "codec": "experiments.codec",
    "plan": "experiments.plan",
    "benchmark": "experiments.benchmark",
    "gpu": "experiments.gpu",
    "sweep": "experiments.sweep",
    "ablations": "experiments.ablations",
    "compare": "experiments.compare",
    "reproduce": "experiments.reproduce",
    "check": "data_pipelines.check",
    "benchmark-world": "data_pipelines.benchmark_world",
    "prepare": "data_pipelines.prepare",
    "duplex": "data_pipelines.duplex",
    "view": "data_pipelines.view",
}
HELP: Final = ("help", "-h", "-help", "--help", "--helpshort", "--helpfull")
BAD_INPUT: Final = 2


def main() -> None:
    """Runs the launcher that the first word names with the words after it.

    Exit codes: those of the launcher; 0 for `--help` and `--version`; 2 with one line on stderr for no or an unknown
    command.
    """
    given = sys.argv[1:]
    if given and given[0] in HELP:
        print(usage())
        return
    if given and given[0] == "--version":
        print(f"fac_jax {__version__}")
        return
    if not given or given[0] not in COMMANDS:
        start = f"unknown command {given[0]}" if given else "a command is missing"
        print(f"error: {start}; known: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    os.environ["PYTHONSAFEPATH"] = "1"  # a folder `experiments` of the user's must not stand in for ours in children
    sys.argv = [sys.argv[0], *given[1:]]
    runpy.run_module(COMMANDS[given[0]], run_name="__main__", alter_sys=True)


def usage() -> str:
    """Returns the list of all commands, each with the first sentence of its launcher."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary(module)}" for name, module in COMMANDS.items()]
    return "\n".join(
        ["fac-jax COMMAND [--option=value ..]", "", *lines, "", "fac-jax COMMAND --help lists its options."]
    )


def summary(module: str) -> str:
    """Returns the first line of a launcher's docstring, without importing the launcher."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    file = Path(spec.origin)
    file = file.with_name("__main__.py") if file.name == "__init__.py" else file
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


if __name__ == "__main__":
    main()
