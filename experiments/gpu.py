"""Runs everything that only a GPU can answer, in pieces, and keeps what each found.

python -m experiments.gpu [--out=docs/gpu] [--pieces=card,train_8b] [--seconds=570] [--again=train_8b]
python -m experiments.gpu --page            writes the tables of docs/benchmark.md from docs/gpu, and runs nothing
python -m experiments.gpu --dry --out=DIR   the same commands on a tiny model, on any device

The pieces, in their order, are the table `PIECES`: products and copies of the card, kernels against the reference,
parity with recorded numbers, training steps, decoding, the voice. Every piece is a process of its own with at most nine
minutes, so that one that runs out of memory or time loses nothing but itself. `OUT/NAME.json`, NAME by the device,
holds what the pieces found; a later call goes on with those that are not in it. With `--seconds` a call begins no piece
that could last longer than what is left of them.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from absl import flags

from experiments.benchmarks.tables import TITLES, table
from experiments.comparing.page import between
from fac_jax import cli
from fac_jax.io import write_text
from fac_jax.types import InputError

ROOT: Final = Path(__file__).parents[1]
PAGE_FILE: Final = ROOT / "docs" / "benchmark.md"
MARKS: Final = "<!-- gpus -->", "<!-- end of gpus -->"
LAST_LINES: Final = 15  # of the output of a piece that did not end well

OUT = flags.DEFINE_string("out", "docs/gpu", "Folder of the results.")
ONLY = flags.DEFINE_list("pieces", None, "Pieces to run, in the order of the table; all if not given.")
AGAIN = flags.DEFINE_list("again", [], "Pieces to run although they have a result.")
SECONDS = flags.DEFINE_integer("seconds", None, "Begin no piece that could last beyond these.", lower_bound=1)
WRITE_PAGE = flags.DEFINE_bool("page", False, "Write the tables of docs/benchmark.md, and run nothing.")
DRY = flags.DEFINE_bool("dry", False, "A tiny model and few tests in place of the real ones.")


@dataclasses.dataclass(frozen=True)
class Piece:
    """One process of the programme.

    Attributes:
      name: name of the result.
      limit: seconds after which it is stopped.
      command: what `python -m` runs; "{result}" stands for the file that it writes.
      dry: the same, on a tiny model.
    """

    name: str
    limit: int
    command: Sequence[str]
    dry: Sequence[str]


def tested(name: str, limit: int, *files: str) -> Piece:
    """Returns a piece of tests."""
    start = ("pytest", "-q", "--junitxml={result}")
    return Piece(
        name, limit, (*start, *(f"tests/{file}" for file in files)), (*start, "tests/layers/test_gradients.py")
    )


def measured(name: str, limit: int, *options: str, dry: Sequence[str] = ("--presets=tiny",)) -> Piece:
    """Returns a piece of `experiments.benchmark`; the options of `dry` come behind the others and win."""
    command = ("experiments.benchmark", "--json={result}", *options)
    return Piece(name, limit, command, (*command, *dry))


BOTH: Final = ("--dtype=bfloat16", "--weights=trained,int8")
DRY_DECODE: Final = ("--measure=decode", "--presets=tiny")

PIECES: Final = (
    measured("card", 120, "--measure=card", "--presets=tiny"),
    tested("kernels", 300, "gpu/one_gpu.py", "layers", "parallel/test_cudnn.py"),
    tested("parity_model", 540, "models/test_model_parity.py", "models/test_reference.py"),
    tested("parity_codec", 540, "codec/test_codec_parity.py", "codec/test_codec_stream.py"),
    measured("train_base", 300, "--measure=utilisation", "--presets=base"),
    measured("train_8b", 420, "--measure=utilisation", "--presets=8b"),
    *(
        measured(f"decode_{name}_{rows}", 540, "--measure=decode", f"--presets={name}", f"--questions={rows}", *BOTH)
        for name in ("base", "8b")
        for rows in (1, 8, 32)
    ),
    measured("first_audio_8b", 540, "--measure=first_audio", "--presets=8b", *BOTH, dry=DRY_DECODE),
    measured("codec", 540, "--measure=codec", dry=("--parts=tokenizer", "--seconds=1")),
)


def run(out: Path, pieces: Sequence[Piece], again: Iterable[str], seconds: int | None, dry: bool) -> Path:
    """Runs the pieces that have no result yet, and returns the file of the results."""
    device = device_here()
    file = out / f"{slug(device['kind'])}.json"
    found = json.loads(file.read_text()) if file.is_file() else {**device, "pieces": {}}
    begin = time.monotonic()
    for piece in pieces:
        if piece.name in found["pieces"] and piece.name not in again:
            print(f"{piece.name}: there already, {found['pieces'][piece.name]['status']}")
            continue
        left = None if seconds is None else seconds - (time.monotonic() - begin)
        if left is not None and left < piece.limit:
            print(f"{piece.name}: for a later call, it may last {piece.limit} s and {left:.0f} s are left")
            continue
        print(f"{piece.name}: at most {piece.limit} s", flush=True)
        result = run_piece(piece, device["platform"], dry)
        found["pieces"][piece.name] = result
        write_text(file, json.dumps(found, indent=2) + "\n")
        print(f"{piece.name}: {result['status']}, {result['seconds']:.0f} s", flush=True)
    return file


def run_piece(piece: Piece, platform: str, dry: bool) -> dict[str, Any]:
    """Runs a piece and returns its status, its seconds, the time of day, and what it found or said last."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch) / "result"
        words = [word.format(result=result) for word in (piece.dry if dry else piece.command)]
        # Tests choose a CPU where nothing is said, and compile fast for it.
        environment = os.environ | {"JAX_PLATFORMS": platform, "XLA_PYTHON_CLIENT_MEM_FRACTION": ".95"}
        environment.setdefault("XLA_FLAGS", "")
        start = time.monotonic()
        with (Path(scratch) / "output").open("w+") as output:
            command = [sys.executable, "-m", *words]
            process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
            try:
                code = process.wait(piece.limit)
                status = "done" if code == 0 else f"failed, exit code {code}"
            except subprocess.TimeoutExpired:
                status = f"stopped at its limit of {piece.limit} s"
            finally:
                process.kill()
                process.wait()
            output.seek(0)
            last = output.read().splitlines()[-LAST_LINES:]
        taken = {"status": status, "seconds": time.monotonic() - start, "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"}
        return taken | (read_result(result) if result.is_file() else {}) | ({} if status == "done" else {"last": last})


def read_result(file: Path) -> dict[str, Any]:
    """Returns "tests", the counts and the names of those that failed, or "figures" of the benchmark."""
    text = file.read_text()
    if not text.startswith("<"):
        return {"figures": {name: rows for name, rows in json.loads(text).items() if name in TITLES and rows}}
    cases = list(ElementTree.fromstring(text).iter("testcase"))
    bad = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    return {"tests": {"run": len(cases), "failed": bad}}


def device_here() -> dict[str, str]:
    """Returns platform, kind and description of the default device, found in a process that gives it back."""
    program = (
        "import json, jax; from fac_jax.evaluation.reports.machine import machine; one = jax.devices()[0]; "
        "print(json.dumps({'kind': one.device_kind, 'platform': {'gpu': 'cuda'}.get(one.platform, one.platform), "
        "'machine': f'{machine()}, jax {jax.__version__}'}))"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(found.stdout.splitlines()[-1])


def slug(kind: str) -> str:
    """Returns the name of a device in lower case with dashes: "nvidia-h200"."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")


def page(results: Iterable[Mapping[str, Any]]) -> str:
    """Returns the section of docs/benchmark.md about all devices that have results."""
    lines = [line for found in results for line in device_lines(found)]
    return "\n".join(lines).strip() or "No GPU has run the programme yet."


def device_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """Yields the lines about one device: what every piece came to, then the tables of what was measured."""
    yield from (f"### {found['kind']}", "", f"{found['machine']}.", "")
    yield from ("| piece | result | seconds | when |", "|---|---|---:|---|")
    for name, piece in found["pieces"].items():
        yield f"| {name} | {outcome(piece)} | {piece['seconds']:.0f} | {piece['at']} |"
    for kind, title in TITLES.items():
        rows = [piece["figures"][kind] for piece in found["pieces"].values() if kind in piece.get("figures", {})]
        if rows:
            yield from ("", *table(title, {label: values for some in rows for label, values in some.items()}))
    yield ""


def outcome(piece: Mapping[str, Any]) -> str:
    """Says in a few words what a piece came to."""
    if "tests" not in piece:
        return piece["status"]
    failed = piece["tests"]["failed"]
    return f"{piece['tests']['run']} tests, " + (f"failed: {', '.join(failed)}" if failed else "all passed")


def main() -> None:
    """Runs the programme, or writes the page."""
    out = Path(OUT.value)
    if WRITE_PAGE.value:
        results = [json.loads(file.read_text()) for file in sorted(out.glob("*.json"))]
        write_text(PAGE_FILE, between(PAGE_FILE.read_text(), *MARKS, page(results)))
        return
    if DRY.value and out.resolve() == (ROOT / "docs" / "gpu").resolve():
        raise InputError("--dry measures nothing that a page should show: give another --out=DIR")
    known = [piece.name for piece in PIECES]
    for option, given in (("pieces", ONLY.value or []), ("again", AGAIN.value)):
        unknown = [name for name in given if name not in known]
        if unknown:
            raise InputError(f"--{option}={','.join(unknown)}: known are {', '.join(known)}")
    chosen = [piece for piece in PIECES if not ONLY.value or piece.name in ONLY.value]
    out.mkdir(parents=True, exist_ok=True)
    print(run(out, chosen, AGAIN.value, SECONDS.value, DRY.value))


if __name__ == "__main__":
    cli.run(main, interrupted="run the command again: it goes on with the pieces that have no result")
