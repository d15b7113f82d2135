"""Adapters that PEFT made and recorded, at `python -m experiments.convert verify-adapter`."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from absl.testing import flagsaver
from golden_model import FOLDER
from launchers import imported
from peft_folders import RECORDED

from fac_jax import cli
from fac_jax.evaluation.parity.adapters import LOGITS, LOSSES, NORMS

DENSE = str(FOLDER / "dense")


def verified(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, Any]:
    """The exit code of the launcher, and what it printed."""
    monkeypatch.setattr(sys, "argv", ["convert", "verify-adapter", str(folder), f"--base={DENSE}", "--json"])
    with imported("experiments.convert") as convert, flagsaver.flagsaver(), pytest.raises(SystemExit) as exited:
        cli.run_commands(convert.COMMANDS)
    code = exited.value.code
    return (code if isinstance(code, int) else 0), json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("case", "count"), [("text", 4 + 42), pytest.param("whole", 6 + 106, marks=pytest.mark.slow)])
def test_recorded_adapters_are_reproduced(
    case: str, count: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, figures: Any
) -> None:
    code, found = verified(RECORDED / case, capsys, monkeypatch)
    assert code == 0 and len(found) == count
    for kind, limit in (("logits", LOGITS), ("loss", LOSSES), ("gradient", NORMS)):
        figures(f"adapter {case}, {kind}", max(one["value"] for one in found if kind in one["name"]), limit)


@pytest.mark.slow
def test_a_figure_that_is_exceeded_is_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(RECORDED / "text", tmp_path / "adapter")
    with np.load(folder / "io.npz") as recorded:
        arrays = dict(recorded)
    arrays["grad_norms"][3] *= 1 + 1e-4
    arrays["merged"][0, 0, 0] += 1e-3
    arrays["adapted"][1, 20] += 1.0  # what the mask hides is not compared
    np.savez(folder / "io.npz", **arrays)
    code, found = verified(folder, capsys, monkeypatch)
    wrong = [one["name"] for one in found if not one["holds"]]
    name = str(arrays["grad_names"][3]).removeprefix("base_model.model.").replace(".default.weight", "")
    assert code == 1 and wrong == [
        "text logits of the merged model, max abs diff",
        f"gradient norm of {name}, relative",
    ]
