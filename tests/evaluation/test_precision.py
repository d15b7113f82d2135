"""Comparisons with recorded runs hold where a device rounds the factors of float32 products, as GPUs do by default."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Products are rounded in a process of their own, since they stay so.
COMPARED = """
import contextlib, sys
import tf32
from golden_codec import FOLDER
from golden_model import golden
from fac_jax.evaluation.parity import codec, model
from fac_jax.evaluation.parity.recording import read_recording
if sys.argv[1] == "removed":
    codec.products = model.products = lambda precision: contextlib.nullcontext()
g = golden("moe_mixed")
found = [*model.compare(g.params, g.config, g.arrays), *codec.compare_part("flow", read_recording(FOLDER / "flow"))]
print(len(found), sum(not figure.holds for figure in found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("context", ["kept", "removed"])
def test_recorded_runs_under_tf32(context: str) -> None:
    """They ask for the precision that they need; without that many figures are beyond their limits."""
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "support")))
    done = subprocess.run(
        [sys.executable, "-c", COMPARED, context],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    figures, beyond = map(int, done.stdout.split())
    assert figures > 40 and (beyond == 0 if context == "kept" else beyond > 20)
