"""Bad input at the command line: exit code 2, one line that names the cause, no traceback."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from experiments.run.assemble import data_config, start
from ml_collections import ConfigDict

from experiments.configs import quickstart
from fac_jax.training.recipe import lock_config
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
CONFIG = f"--config={ROOT / 'experiments' / 'configs' / 'quickstart.py'}"
CASES: dict[str, tuple[list[str], str]] = {
    "no config": ([], "--config must have a value"),
    "no such config": (["--config=nowhere.py"], "--config=nowhere.py: no such file"),
    "unknown key": (
        [CONFIG, "--config.stages.speak.stps=3"],
        "unknown config key --config.stages.speak.stps; did you mean steps?",
    ),
    "wrong type": ([CONFIG, "--config.stages.speak.steps=few"], "--config.stages.speak.steps=few"),
    "another config": ([CONFIG], "holds another config: stages.speak.steps is 1 there, "),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.CompletedProcess[str]]]:
    """All cases at once, each a process of its own."""
    taken = tmp_path_factory.mktemp("taken")
    values = quickstart.get_config().to_dict()
    values["stages"]["speak"]["steps"] = 1
    lock_config(taken, values)

    def launch(name: str) -> subprocess.CompletedProcess[str]:
        workdir = taken if name == "another config" else taken / "never made"
        command = [sys.executable, "-m", "experiments.train", f"--workdir={workdir}", *CASES[name][0]]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(2) as pool:
        yield dict(zip(CASES, pool.map(launch, CASES), strict=True))
    assert [p.name for p in taken.iterdir()] == ["config.json"], "a refused run must leave nothing behind"


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_exit_code_two(
    name: str, results: dict[str, subprocess.CompletedProcess[str]]
) -> None:
    result = results[name]
    assert result.returncode == 2, result.stderr
    assert CASES[name][1] in result.stderr
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr + result.stdout


def changed(**changes: object) -> ConfigDict:
    config = quickstart.get_config()
    config.unlock()
    config.update(changes)
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(recipe=("text", "sing")), "recipe lists stage sing, config.stages has .*text"),
        (changed(model={"preset": "huge"}), "unknown model preset 'huge'"),
        (changed(model={"preset": "tiny", "depht": 3}), "unknown model config key depht"),
        (changed(data={"world": {"planet": 3}}), r"unknown config key data\.world\.planet; known: seed, "),
        (changed(stages={"text": {"stpes": 1}}), r"unknown config key stages\.text\.stpes; known: name, steps"),
        (changed(stages={"text": {"optimizer": {"lr": 1}}}), r"unknown config key stages\.text\.optimizer\.lr"),
    ],
)
def test_a_config_is_checked_before_the_workdir_is_touched(tmp_path: Path, config: ConfigDict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        start(config, tmp_path / "run", tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_a_key_without_default_must_be_there() -> None:
    config = quickstart.get_config()
    del config.stages.text["optimizer"]["peak"]
    with pytest.raises(InputError, match=r"config key stages\.text\.optimizer\.peak is missing"):
        start(config, Path("never"), Path("never"))


def test_a_config_becomes_dataclasses() -> None:
    data = data_config(changed(data={"world": {"seed": 5, "assistant": {"name": "en-us", "rate": 150, "pitch": 40}}}))
    assert (data.world.seed, data.world.assistant.rate, data.codec.units) == (5, 150, 128)
    assert data_config(changed(data={"augment": None})).augment is None


def test_claim_names_the_first_keys_that_differ(tmp_path: Path) -> None:
    config = {"a": 1, "b": {"c": (1, 2), "d": "x"}, "e": []}
    lock_config(tmp_path / "run", config)
    lock_config(tmp_path / "run", {**json.loads(json.dumps(config)), "workers": 2})
    with pytest.raises(InputError) as caught:
        lock_config(tmp_path / "run", {"a": 1, "b": {"c": (1, 3, 4), "f": "x"}, "e": []})
    assert str(caught.value) == (
        f"{tmp_path / 'run'}: holds another config: b.c.1 is 2 there, 3 here; "
        'b.d is "x" there, absent here; b.c.2 is absent there, 4 here and 1 more; take another --workdir'
    )
