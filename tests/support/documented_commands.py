"""Commands as the documentation gives them, and the same at tiny size."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
LAUNCHERS = ("train", "plan", "quickstart", "post_training", "evaluate", "full_duplex")
COMMAND = re.compile(rf"python -m (experiments\.(?:{'|'.join(LAUNCHERS)}))(?=[ `]|$)(.*)", re.MULTILINE)
CONTINUED = re.compile(r"\s*\\\n#?\s*")
END = re.compile(r"\s{2,}(?![-\s])|\s#|`|\s\(")  # a remark follows
OF_HOSTS = ("--cluster", "--coordinator", "--processes", "--process", "--mesh")
DOCS = ("scaling", "finetuning", "training")
# What a script of launch/ asks of a cloud is written down. A job that sbatch gets is run.
PROGRAMS = {
    "gcloud": 'case "$4" in describe) echo ACTIVE;; esac',
    "xpk": "",
    "sbatch": 'while [[ $1 == --* ]]; do shift; done; exec bash "$@"',
    "srun": "",
}


class Command(NamedTuple):
    """A launcher, its words as `--name=value`, and the file that gives the command."""

    launcher: str
    words: tuple[str, ...]
    file: str

    def value(self, name: str) -> str | None:
        """The last value of a flag; None if it is not given."""
        found = [word.partition("=")[2] for word in self.words if word.partition("=")[0] == name]
        return found[-1] if found else None


def commands_in(text: str, file: str) -> list[Command]:
    """Every command of a text. Words in brackets may be left out, and are; `..` leaves words open: no command."""
    found = []
    for match in COMMAND.finditer(CONTINUED.sub(" ", text)):
        words = shlex.split(re.sub(r"\[[^]]*\]", "", END.split(match[2].lstrip(), maxsplit=1)[0]))
        if ".." not in words:
            found.append(Command(match[1], tuple(_joined(words)), file))
    return found


def _joined(words: list[str]) -> list[str]:
    """`--name value` as `--name=value`."""
    found: list[str] = []
    for word in words:
        value_of = found and found[-1].startswith("--") and "=" not in found[-1] and not word.startswith("--")
        found[len(found) - bool(value_of) :] = [f"{found[-1]}={word}"] if value_of else [word]
    return found


def of_configs() -> list[Command]:
    """The commands in the docstrings of `experiments/configs`."""
    files = sorted((ROOT / "experiments" / "configs").rglob("*.py"))
    heads = {file.stem: ast.get_docstring(ast.parse(file.read_text())) or "" for file in files}
    return [command for name, head in heads.items() for command in commands_in(head, name)]


def of_docs() -> list[Command]:
    """The commands in the pages of `DOCS`."""
    return [one for name in DOCS for one in commands_in((ROOT / "docs" / f"{name}.md").read_text(), f"{name}.md")]


def head_of(script: Path) -> str:
    """The call of a script in its own head, as a line for bash."""
    lines = [line for line in script.read_text().splitlines() if line.startswith("#   ")]
    return CONTINUED.sub(" ", "\n".join(line.removeprefix("#").strip() for line in lines))


def of_script(script: Path, folder: Path) -> Command:
    """What a script of `launch/` starts on every host when it is called as its head says.

    Args:
      script: of launch/.
      folder: gets stand-ins for the clouds' programs.
    """
    log = folder / "log"
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in PROGRAMS.items():
        (folder / name).write_text(f'#!/usr/bin/env bash\necho "{name} $*" >> {log}\n{body}\n')
        (folder / name).chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    subprocess.run(["bash", "-c", head_of(script)], cwd=ROOT, env=environment, check=True, timeout=60)
    (found,) = commands_in(log.read_text(), script.name)
    return found


class Place(NamedTuple):
    """What takes the place of the names in documented commands."""

    initial: Path
    rows: Path
    pairs: Path
    calls: Path
    recordings: Path
    sets: dict[str, Path]  # folder of a config's argument, by the config's name
    own: Path  # the config of docs/finetuning.md
    data: Path


def config_of(words: tuple[str, ...]) -> Any:
    """The config file that words name, built."""
    file, _, argument = Command("", words, "").value("--config").partition(":")  # type: ignore[union-attr]
    spec = importlib.util.spec_from_file_location("documented_config", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*([argument] if argument else []))


def placed(command: Command, place: Place, workdir: Path) -> Command:
    """A command with files that exist; sizes stay as they are."""
    defaults = {"quickstart": "quickstart", "post_training": "recipe_toy", "evaluate": "quickstart"}
    default = defaults.get(command.launcher.split(".")[1])
    words = [] if default is None or command.value("--config") else [f"--config=experiments/configs/{default}.py"]
    for word in command.words:
        name, _, value = word.partition("=")
        if name == "--config":
            stem = Path(value.partition(":")[0]).stem
            argument = f":{place.sets[stem]}" if ":" in value else ""
            value = f"{place.own if stem == 'own' else ROOT / value.partition(':')[0]}{argument}"
        elif name in ("--config.model.init_from", "--half_duplex"):
            value = str(place.initial)
        elif name.startswith("--config.data.sets.") and name.endswith(".path"):
            files = {"pairs": place.pairs, "calls": place.calls, "recordings": place.recordings}
            value = str(files.get(Path(value).stem, place.rows))
        elif name == "--topology":
            value = "cpu:1" if value.endswith(":1") else "cpu:8"
        if name not in (*OF_HOSTS, "--workdir", "--data_dir"):
            words.append(f"{name}={value}" if value else name)
    if command.launcher != "experiments.plan":
        words += [f"--workdir={workdir}", f"--data_dir={place.data}"]
    return Command(command.launcher, tuple(words), command.file)


def tiny(command: Command, place: Place) -> Command:
    """A placed command with two steps a stage, a small model, small batches and a small world."""
    config = config_of(command.words)
    changes = ["--config.data.processes=1", *_sizes(config)]
    if command.value("--config.model.init_from") is None:
        changes.append("--config.model.preset=tiny")
        changes += [f"--config.model.{part}.depth=1" for part in ("text", "audio", "head")]
    for name, one in config.data.sets.items():
        if one.path is not None and not Path(one.path).exists():
            changes.append(f"--config.data.sets.{name}.path={place.calls if name == 'calls' else place.rows}")
    if command.value("--search") is not None:
        changes.append("--tries=1")
    if command.launcher == "experiments.evaluate":
        changes.append("--most=2")
    return Command(command.launcher, (*command.words, *changes), command.file)


def _sizes(config: Any) -> list[str]:
    toy = config.data.world is not None and config.data.world.limit is not None
    found = []
    for name, stage in config.stages.items():
        if stage.steps:
            sizes = {"steps": 2, "data.seq_len": 112}
            windows = 32 if "calls" in stage.data.mixture else 4
            sizes |= {"data.batch_rows": 8} if toy else {"data.windows_per_row": windows}
            if toy and stage.data.windows_per_row is not None:  # of 2 s or more; those of the small model are shorter
                sizes["data.windows_per_row"] = 16
            found += [f"--config.stages.{name}.{key}={value}" for key, value in sizes.items()]
    if toy:
        world = {"limit": 2, "test_pairs": 2, "dev_pairs": 1, "clips_per_pair": 1}
        world |= {"read_aloud": 4, "read_sums": 4, "transcribe": 2}
        found += [f"--config.data.world.{key}={value}" for key, value in world.items()]
        if config.data.unit_codec is not None and config.data.unit_codec.units is not None:
            found.append("--config.data.unit_codec.units=16")
        if config.data.pairs is not None and config.data.pairs.train is not None:
            found += ["--config.data.pairs.train=8", "--config.data.pairs.test=4"]
    return found
