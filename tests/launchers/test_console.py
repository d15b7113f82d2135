"""The console command `fac-jax`: every launcher has a name, and shipped configs are found by theirs."""

import ast
import runpy
import sys
from pathlib import Path

import pytest

from experiments import __main__ as console
from fac_jax import config_files
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "experiments" / "configs"


def launchers() -> set[str]:
    """Modules at the top of a package of ours that start when they are run."""
    files = [
        *ROOT.glob("experiments/*.py"),
        *ROOT.glob("data_pipelines/*.py"),
        *ROOT.glob("data_pipelines/*/__main__.py"),
    ]
    runs = [file for file in files if "cli.run" in file.read_text()]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__") for file in runs}


def test_every_launcher_has_a_name() -> None:
    assert set(console.COMMANDS.values()) == launchers()


def test_help_lists_every_command_with_its_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fac-jax", "--help"])
    console.main()
    lines = capsys.readouterr().out.splitlines()
    for name, module in console.COMMANDS.items():
        file = ROOT / (module.replace(".", "/") + ".py")
        file = file if file.exists() else file.with_suffix("") / "__main__.py"
        sentence = (ast.get_docstring(ast.parse(file.read_text())) or "").splitlines()[0]
        assert sentence and any(line.split() == [name, *sentence.split()] for line in lines), name


def test_a_command_runs_its_launcher_with_the_words_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(runpy, "run_module", lambda module, **_: ran.append((module, sys.argv)))
    monkeypatch.setattr(sys, "argv", ["fac-jax", "post-training", "--workdir", "x"])
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    console.main()
    assert ran == [("experiments.post_training", ["fac-jax", "--workdir", "x"])]


@pytest.mark.parametrize(("words", "message"), [([], "a command is missing"), (["trian"], "unknown command trian")])
def test_an_unknown_command_is_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fac-jax", *words])
    with pytest.raises(SystemExit) as exited:
        console.main()
    told = capsys.readouterr().err
    assert exited.value.code == 2 and message in told and "train" in told and told.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("quickstart", "quickstart.py"),
        ("group_size", "ablations/group_size.py"),
        ("ablations/group_size", "ablations/group_size.py"),
    ],
)
def test_a_shipped_config_is_found_by_name_from_any_folder(
    name: str, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert config_files.find(name, CONFIGS) == CONFIGS / file
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).touch()
    assert config_files.find(name, CONFIGS) == Path(name), "a file of that path comes first"


def test_a_name_that_no_config_has_lists_the_names(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no shipped config .* ablations/group_size, .*quickstart"):
        config_files.find("nowhere", CONFIGS)


def test_an_argument_follows_the_name(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import dataclasses\nfrom ml_collections import ConfigDict\n"
        "@dataclasses.dataclass\nclass A:\n    x: int = 1\n"
        "def get_config(size='small'):\n    return ConfigDict({'size': size, 'x': A().x})\n"
    )
    parser = config_files.Parser(tmp_path)
    assert parser.parse("mine").size == "small"
    assert parser.parse("mine:large").size == "large"
    assert parser.parse(f"{tmp_path / 'mine.py'}:huge").size == "huge"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("stages.speak.stps", "stages.speak.steps"),
        ("remat", "model.remat"),
        ("data.codek", "data.codec"),
        ("zzz", None),
    ],
)
def test_the_nearest_key_is_a_sibling_or_has_the_same_last_name(name: str, near: str | None) -> None:
    known = ["seed", "model", "model.remat", "stages", "stages.speak", "stages.speak.steps", "data", "data.codec"]
    assert config_files.nearest(name, known) == near
