"""Bad input at the command line: exit code 2, one line that names the cause, no traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from etils import epath
from launchers import launched
from ml_collections import ConfigDict

from experiments.configs import quickstart
from experiments.run.config import resolve_config
from experiments.run.lock import lock_config
from experiments.run.setup import start, used_sets, with_new_keys
from fac_jax import cli
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
CASES: dict[str, tuple[list[str], str]] = {
    "no config": ([], "--config is missing"),
    "a key before the config": (["--config.seed=1"], "--config is missing: --config=NAME comes before --config.seed"),
    "no such config": (["--config=nowhere.py"], "--config=nowhere.py: no such file, and no shipped config has this"),
    "no get_config": (["--config=FOLDER/plain.py"], "plain.py is no config: it defines no get_config()"),
    "a config that fails": (["--config=FOLDER/fails.py"], "fails.py, line 2: NameError: name 'undefined' is not"),
    "unknown key": (
        ["--config=quickstart", "--config.stages.speak.stps=3"],
        "unknown config key --config.stages.speak.stps; did you mean --config.stages.speak.steps?",
    ),
    "key of elsewhere": (
        ["--config=quickstart", "--config.stages.speak.units=3"],
        "unknown config key --config.stages.speak.units; did you mean --config.data.unit_codec.units?",
    ),
    "wrong type": (["--config=quickstart", "--config.stages.speak.steps=few"], "--config.stages.speak.steps=few"),
    "no stage": (["--config=quickstart", "--config.recipe=()"], "recipe names no stage"),
    "a profile after the end": (["--config=quickstart", "--profile=9000:1"], "no stage has more than 1200 steps"),
    "another config": (["--config=quickstart", "--workdir=TAKEN"], "holds another config: stages.speak.steps is 1 "),
    "unknown option": (["--config=quickstart", "--workdr=x"], "unknown option --workdr; did you mean --workdir?"),
    "forbidden workdir": (["--config=quickstart", "--workdir=/proc/run"], "/proc/run: No such file or directory"),
}


def train(*words: str) -> tuple[int, str]:
    """Runs `experiments.train` on words; returns its exit code and what it said on stderr."""
    result = launched("experiments.train", *words, required=["config"])
    return result.returncode, result.stderr


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_one_line_and_exit_code_two(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.py").write_text("x = 1\n")
    (tmp_path / "fails.py").write_text("def get_config():\n    return undefined\n")
    values = quickstart.get_config()
    values.stages.speak.steps = 1
    lock_config(epath.Path(tmp_path / "taken"), resolve_config(values).tree())
    words, message = CASES[name]
    named = [word.replace("FOLDER", str(tmp_path)).replace("TAKEN", str(tmp_path / "taken")) for word in words]
    code, told = train(f"--workdir={tmp_path / 'never made'}", *named)
    assert code == cli.BAD_INPUT and message in told, told
    assert told.startswith("error: ") and told.count("\n") == 1
    assert sorted(p.name for p in tmp_path.rglob("*") if p.suffix != ".pyc" and p.name != "__pycache__") == [
        "config.json",
        "fails.py",
        "plain.py",
        "taken",
    ], "a refused run must leave nothing behind"


def test_a_missing_option_is_named() -> None:
    assert train("--config=quickstart") == (cli.BAD_INPUT, "error: --workdir is missing: a folder for the run\n")


def test_help_exits_with_zero() -> None:
    command = [sys.executable, "-m", "data_pipelines.check", "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0 and not result.stderr
    assert "--compilation_cache" in result.stdout and "--quarantine" in result.stdout


def test_compiled_programs_are_kept_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import jax

    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(cli.CACHE_VARIABLE)
    try:
        cli.cache_compilations()
        assert jax.config.jax_compilation_cache_dir == os.environ[cli.CACHE_VARIABLE] == f"{tmp_path}/fac_jax/jax"
        monkeypatch.setenv(cli.CACHE_VARIABLE, f"{tmp_path}/mine")
        cli.cache_compilations()
        assert jax.config.jax_compilation_cache_dir == f"{tmp_path}/mine"
        monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "true")
        cli.cache_compilations("")
        assert jax.config.jax_compilation_cache_dir is None
        assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false", "a process started from here keeps none either"
    finally:
        jax.config.update("jax_compilation_cache_dir", before)


def changed(**changes: object) -> ConfigDict:
    config = quickstart.get_config()
    config.unlock()
    config.update(changes)
    return config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (changed(recipe=("text", "sing")), "recipe lists stage sing; known: .*text"),
        (changed(model={"preset": "huge"}), "unknown model preset 'huge'"),
        (changed(model={"preset": "tiny", "depht": 3}), r"unknown config key model\.depht; known: text, "),
        (changed(data={"world": {"planet": 3}}), r"unknown config key data\.world\.planet; known: seed, limit"),
        (changed(stages={"text": {"stpes": 1}}), r"unknown config key stages\.text\.stpes; did you mean steps\?"),
        (
            changed(stages={"text": {"optimizer": {"lr": 1}}}),
            r"unknown config key stages\.text\.optimizer\.lr; known",
        ),
        (
            changed(stages={"text": {"loss": {"speach_weight": 1}}}),
            r"stages\.text\.loss\.speach_weight; did you",
        ),
    ],
)
def test_a_config_is_checked_before_the_workdir_is_touched(tmp_path: Path, config: ConfigDict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        start(config, tmp_path / "run", tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_a_key_without_default_must_be_there(tmp_path: Path) -> None:
    config = quickstart.get_config()
    del config.stages.text["optimizer"]["peak"]
    with pytest.raises(InputError, match=r"config key stages\.text\.optimizer\.peak is missing"):
        start(config, tmp_path / "never", tmp_path / "never")


def test_a_config_becomes_dataclasses() -> None:
    voice = {"name": "en-us", "rate": 150, "pitch": 40}
    data = resolve_config(changed(data={"world": {"seed": 5, "assistant": voice}})).data
    assert data.world is not None and data.unit_codec is not None
    assert (data.world.seed, data.world.assistant.rate, data.unit_codec.units) == (5, 150, 128)
    without: Any = changed()
    without.data.unit_codec = None
    assert resolve_config(without).data.unit_codec is None


def test_a_workdir_whose_config_is_older_than_a_key_may_be_resumed(toy_folder: Path, tmp_path: Path) -> None:
    older = resolve_config(changed()).tree()
    del older["model"]["front_end"], older["stages"]["text"]["data"]["augment"]
    older = json.loads(json.dumps(older))
    workdir = epath.Path(tmp_path / "old")
    lock_config(workdir, older)
    same = resolve_config(changed(model={"unroll_layers": False})).tree()  # how a run computes is free
    lock_config(workdir, {**same, "model": {**same["model"], "front_end": "plain"}}, with_new_keys)
    with pytest.raises(InputError, match='front_end is "plain" there, "levelled" here'):
        lock_config(workdir, same, with_new_keys)


def test_the_toy_worlds_questions_are_changed_and_nothing_else(toy_folder: Path) -> None:
    config = resolve_config(changed())
    found = used_sets(config, toy_folder)
    assert config.data.waves.operations() and found["s2s"].waves == found["asr"].waves == config.data.waves
    assert not any(found[name].waves.operations() for name in ("text_qa", "voice", "silent_qa"))


def test_claim_names_the_first_keys_that_differ(tmp_path: Path) -> None:
    run = epath.Path(tmp_path / "run")
    config = {"a": 1, "b": {"c": (1, 2), "d": "x"}, "e": []}
    lock_config(run, config)
    lock_config(run, {**json.loads(json.dumps(config)), "workers": 2})
    with pytest.raises(InputError) as caught:
        lock_config(run, {"a": 1, "b": {"c": (1, 3, 4), "f": "x"}, "e": []})
    assert str(caught.value) == (
        f"{run}: holds another config: b.c.1 is 2 there, 3 here; "
        'b.d is "x" there, absent here; b.c.2 is absent there, 4 here and 1 more; take another --workdir'
    )


PROGRAM = """
import gc, signal, time
from fac_jax import cli

def interrupt(*_):
    gc.callbacks.remove(interrupt)
    signal.raise_signal(signal.SIGINT)

def main():
    gc.callbacks.append(interrupt)
    gc.collect()
    time.sleep(50)

cli.run(main)
"""


def test_an_interrupt_in_a_callback_of_the_garbage_collector_ends_the_program(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), "--compilation_cache="]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=40, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stderr) == (cli.INTERRUPTED, f"interrupted; {cli.AGAIN}\n")
