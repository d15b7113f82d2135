"""Keys of every shipped config: each can be set on the command line and is there in what `--show_config` prints."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from launchers import called, launched

from experiments.run.ears import check_environment, quickstart_config
from fac_jax import cli
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
CONFIGS = [
    file.stem
    for file in sorted((ROOT / "experiments" / "configs").glob("*.py"))
    # `resolved` reads a file of a run, `scoring` is of no run.
    if file.stem not in ("__init__", "base", "resolved", "scoring")
]
SETTINGS: dict[str, Any] = {
    "model.group_size": 2,
    "mesh.fsdp": 4,
    "mesh.tensor": 2,
    "attention": "einsum",
    "model.text.depth": 3,
    "model.remat": "dots",
    "trackers": [],
}
STAGE_SETTINGS: dict[str, Any] = {"trainable": ["head/"], "micro_batches": 2}
AT_THEIR_DEFAULT = ("model.remat",)  # of some shipped configs


def at(tree: Any, key: str) -> Any:
    """The value of a dotted key."""
    for part in key.split("."):
        tree = tree[part]
    return tree


def _written(value: Any) -> Any:
    """A value as a command line gives it; a list is a tuple there."""
    return tuple(value) if isinstance(value, list) else value


def config_file(name: str) -> Path:
    return ROOT / "experiments" / "configs" / f"{name}.py"


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """Calls `experiments.train --show_config` in this process; returns the tree that it prints."""

    def run(name: str, *changes: str) -> dict[str, Any]:
        words = (f"--config={config_file(name)}", *changes, "--show_config")
        monkeypatch.setattr(sys, "argv", ["train", *words])  # where the config's flag looks for changes of keys
        called("experiments.train", *words)
        return json.loads(capsys.readouterr().out)

    return run


@pytest.mark.parametrize("name", CONFIGS)
def test_a_key_that_is_set_is_read_back(name: str, show: Callable[..., dict[str, Any]]) -> None:
    before = show(name)
    first = next(iter(before["stages"]))
    settings = SETTINGS | {f"stages.{first}.{key}": value for key, value in STAGE_SETTINGS.items()}
    after = show(name, *(f"--config.{key}={_written(value)}" for key, value in settings.items()))
    assert {key: at(after, key) for key in settings} == settings
    assert all(at(before, key) != value for key, value in settings.items() if key not in AT_THEIR_DEFAULT)
    assert before.keys() == after.keys() and before["data"] == after["data"]


def test_an_unknown_key_is_one_line_and_exit_code_two() -> None:
    words = [f"--config={config_file('quickstart')}", "--config.model.text.dept=3", "--show_config"]
    result = launched("experiments.train", *words)
    assert result.returncode == cli.BAD_INPUT and not result.stdout
    assert result.stderr.startswith("error: unknown config key --config.model.text.dept; did you mean ")
    assert "--config.model.text.depth?" in result.stderr and result.stderr.count("\n") == 1


def test_ears_of_the_quickstart_are_those_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARS", "scratch")
    check_environment()
    assert quickstart_config() == "quickstart.py"
    monkeypatch.setenv("EARS", "scrtach")
    with pytest.raises(InputError, match="EARS=scrtach: not known; EARS=scratch trains ears from nothing"):
        check_environment()


@pytest.mark.parametrize("encoder", ["whisper-tiny.en", None])
def test_what_goes_on_from_a_quickstart_has_its_ears(
    encoder: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EARS")
    (tmp_path / "config.json").write_text(json.dumps({"model": {"encoder_from": encoder}}))
    assert quickstart_config(tmp_path) == ("quickstart_whisper.py" if encoder else "quickstart.py")
