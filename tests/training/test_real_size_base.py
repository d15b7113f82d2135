"""A step of an adapter of the 8B in its real size, on a base of random weights in nf4, on this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 20 * 10**9  # bytes
SCRIPT = ROOT / "tests" / "support" / "real_size_step.py"


def stepped(preset: str, form: str) -> tuple[dict[str, float], int]:
    """What a step of a preset reports, and the peak memory of its process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    command = [sys.executable, str(SCRIPT), preset, form]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return json.loads(printed), usage.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["tiny", "8b"])
def test_a_step_on_a_base_in_nf4_takes_less_than_20_gb(preset: str, figures: Any) -> None:
    found, peak = stepped(preset, "nf4")
    figures(
        f"{preset} in nf4, bytes of all parameters over those of bfloat16",
        found["bytes"] / found["parameters"] / 2,
        0.7,
    )
    figures(f"{preset} in nf4, peak bytes of a step", peak, LIMIT)
    figures.at_least(f"{preset}, loss of random weights, nats", found["loss"], 1.0)
    figures.at_least(f"{preset}, change of A or B, in learning rates", found["moved"] / 1e-3, 0.5)
    print(f"{preset}: base {found['making']:.0f} s, first step {found['step']:.0f} s", file=sys.stderr)
