"""`python -m experiments.convert` as a user calls it: words, exit codes, one line for bad input."""

import json
import subprocess
from collections.abc import Iterator

import numpy as np
import pytest
from golden_model import FOLDER, golden
from launchers import launched

DENSE = str(FOLDER / "dense")
Result = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Result]]:
    """What every case prints and exits with."""
    folder = tmp_path_factory.mktemp("convert")
    ids, logits = (golden("dense").arrays[name] for name in ("text/input_ids", "text/logits"))
    np.savez(folder / "right.npz", **{"text/input_ids": ids, "text/logits": logits})
    np.savez(folder / "wrong.npz", **{"text/input_ids": ids, "text/logits": logits + 1e-3})
    cases = {
        "no command": [],
        "words missing": ["hf-to-jax", DENSE],
        "no such folder": ["hf-to-jax", str(folder / "nowhere"), str(folder / "out")],
        "inspect": ["inspect", DENSE, "--json"],
        "verify": ["verify", DENSE, "--recorded", str(folder / "right.npz"), "--json"],
        "verify another": ["verify", DENSE, "--recorded", str(folder / "wrong.npz")],
        "verify nothing": ["verify", DENSE, "--recorded", str(folder / "none.npz")],
    }

    yield {case: launched("experiments.convert", *words) for case, words in cases.items()}
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no command", "give a command: hf-to-jax | jax-to-hf"),
        ("words missing", "DST is missing: the command takes hf-to-jax SRC DST"),
        ("no such folder", "nowhere"),
        ("verify nothing", "none.npz: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(case: str, words: str, results: dict[str, Result]) -> None:
    result = results[case]
    assert result.returncode == 2, result.stderr
    assert words in result.stderr and result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


def test_verify_exits_one_past_a_limit(results: dict[str, Result]) -> None:
    assert results["verify"].returncode == 0, results["verify"].stderr
    assert [figure["holds"] for figure in json.loads(results["verify"].stdout)] == [True]
    assert results["verify another"].returncode == 1
    assert "EXCEEDED" in results["verify another"].stdout


def test_inspect_names_every_tensor(results: dict[str, Result]) -> None:
    rows = json.loads(results["inspect"].stdout)
    assert {row["name"] for row in rows} == set(golden("dense").tensors)
    assert all(row["maps to"] for row in rows)
