"""Every command in the heads of configs and launch scripts and in the docs runs, on eight devices and at tiny size."""

import json
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from documented_commands import (
    ROOT,
    Command,
    Place,
    commands_in,
    config_of,
    head_of,
    of_configs,
    of_docs,
    of_script,
    placed,
    tiny,
)
from flax import traverse_util
from launchers import called
from record_run import write_initial
from spoken_dialogues import dialogue
from tiny_calls import write_scenarios
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, spoken, write_jsonl

from data_pipelines.duplex.folder import write_calls
from data_pipelines.duplex.make import CallsConfig
from experiments.configs import benchmarks_toy
from fac_jax.checkpoint.export import load_params
from fac_jax.evaluation.calls.scenarios import SCORERS
from fac_jax.training.metrics import read_curve

SCRIPTS = [one for one in sorted((ROOT / "launch").iterdir()) if "experiments.train" in one.read_text()]
HEAVY = ("quickstart", "post_training", "evaluate")  # launchers with stages to train and questions to ask
SEVERAL_STAGES = ("quickstart", "recipe_toy", "recipe_small", "benchmarks_toy", "duplex_toy")
# Configs whose every part other tests run: steps of big models are traced in tests/planning/test_same_program.py,
# those of data sets train in tests/run/test_record_configs.py; "finetune_toy" is "finetune" with other values.
TWICE = (
    "sft_8b",
    "cocktail_8b",
    "dpo_8b",
    "duplex_8b",
    "sft_30b_a3b",
    "dpo_30b_a3b",
    "librispeech",
    "common_voice",
    "preferences",
    "finetune_toy",
)
ONE_CARD = ("lora_8b", "qlora_8b", "lora_30b_a3b")  # stages on such bases run in tests/training/test_base.py


def is_heavy(command: Command) -> bool:
    """Whether a command takes minutes even at tiny size, or what it runs is run by another."""
    config = Path((command.value("--config") or "").partition(":")[0]).stem
    if command.launcher.split(".")[1] in HEAVY or command.value("--search") is not None:
        return True
    return config in (*SEVERAL_STAGES, *TWICE, *ONE_CARD)


def asked(command: Command) -> tuple[str, ...]:
    """What is left of a command without the files and sizes in whose place tests put others."""
    sizes = (".path", ".init_from", ".steps", ".seq_len")
    names = ((word, word.partition("=")[0]) for word in command.words)
    return command.launcher, *(word for word, name in names if name != "--workdir" and not name.endswith(sizes))


def parameters(commands: list[Command], others: Sequence[Command] = ()) -> list:
    """Cases of commands, slow if they are heavy or ask for the same as an earlier one, or as one of `others`."""
    found, seen = [], {asked(one) for one in others}
    for number, one in enumerate(commands):
        slow = is_heavy(one) or asked(one) in seen
        found.append(pytest.param(one, id=f"{one.file}-{one.launcher}-{number}", marks=[pytest.mark.slow] * slow))
        seen.add(asked(one))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    home = tmp_path_factory.mktemp("place")
    save(home / "a.wav", 1.0)
    conversation = [
        release_row(PLACEHOLDER, PLACEHOLDER, audio=[heard("a.wav", 1.0), spoken("yes", [1, 2, 3])], id=f"r{number}")
        for number in range(4)
    ]
    utterances = home / "LibriSpeech" / "train-clean-100" / "19" / "7"
    save(utterances / "19-7-0000.flac", 0.8, format="FLAC")
    (utterances / "19-7.trans.txt").write_text("19-7-0000 GO ON\n")
    language = home / "cv-corpus" / "en"
    save(language / "clips" / "c.mp3", 0.8, 48_000, format="MP3")
    names = "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant"
    row = "c\tc.mp3\ts\tGo on.\t\t2\t0\t\t\t\t"
    (language / "train.tsv").write_text("\t".join(names.split()) + f"\n{row}\n")
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", (ROOT / "docs" / "finetuning.md").read_text(), re.MULTILINE)
    (own,) = [block for block in blocks if "def get_config" in block]
    (home / "own.py").write_text(textwrap.dedent(own))
    for name in {**benchmarks_toy.SHORT, **benchmarks_toy.LONG}:
        save(home / "benchmarks" / "train" / "a.wav", 1.0)
        write_jsonl(home / "benchmarks" / "train" / f"{name}.jsonl", conversation)
    for split in ("train", "dev"):
        asked = [dialogue(f"{split}-{number}") for number in range(8)]
        for folder, delay in (("calls", 2), ("toy_calls", 1)):
            made = CallsConfig(0, (60, 60), delay_groups=delay)
            assert not write_calls(home / folder / split, asked, len(asked), made, "wav", 1)
    return Place(
        write_initial(home / "initial", seed=7, codec=True),
        write_jsonl(home / "rows.jsonl", conversation),
        write_jsonl(home / "pairs.jsonl", [preference_row(id=f"p{number}") for number in range(4)]),
        home / "calls" / "train",
        write_jsonl(home / "recordings.jsonl", [{"audio": "a.wav", "text": "go on"}] * 4),
        {
            "librispeech": home / "LibriSpeech",
            "common_voice": home / "cv-corpus",
            "benchmarks_toy": home / "benchmarks",
            "duplex_toy": home / "toy_calls",
        },
        home / "own.py",
        home / "data",
    )


def start(launcher: str, words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls a launcher; ml_collections looks for the keys of a config among the words of the process."""
    monkeypatch.setattr(sys, "argv", [launcher, *words])
    called(launcher, *words)


def runs(command: Command, place: Place, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a command at tiny size; what trains a model to start from stays near it."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XLA_FLAGS", "")  # a plan adds to it
    workdir = folder / "run"
    small = tiny(placed(command, place, workdir), place)
    if command.launcher == "experiments.evaluate":
        trained = [word for word in small.words if word.startswith(("--config", "--workdir", "--data_dir"))]
        start("experiments.train", trained, monkeypatch)
        if command.value("--config") is None:  # that of the workdir
            small = small._replace(words=tuple(word for word in small.words if not word.startswith("--config")))
    if command.launcher == "experiments.full_duplex":
        write_scenarios(Path(place.sets["duplex_toy"]), 1)
    start(small.launcher, small.words, monkeypatch)
    if command.launcher == "experiments.full_duplex":
        scored(workdir)
    if command.launcher != "experiments.train" or "--show_config" in small.words:
        return
    config = config_of(small.words)
    stages = [name for name in config.recipe if config.stages[name].steps]
    for name in stages:
        curve = read_curve(workdir / name)
        assert len(curve) == 2 and np.isfinite([line["loss"] for line in curve]).all()
    if command.value("--config.model.init_from") is None:
        return
    # Adam moves a parameter by about the learning rate a step; parameters of another draw are hundreds of them apart.
    most = 3 * sum(config.stages[name].optimizer.peak for name in stages)
    if config.stages[stages[0]].lora:  # B moves so; its product with A and the scale is of its size
        most = 10 * most
    dtype = config.model.param_dtype or "float32"  # in which the run began
    step = float(jnp.finfo(dtype).eps)
    moved = []
    first, last = (traverse_util.flatten_dict(load_params(one)[0]) for one in (place.initial, workdir))
    for path, value in first.items():  # a model may have learnt more
        began, ended = (np.asarray(each, np.float32) for each in (jnp.asarray(value, dtype), last[path]))
        moved.append(float(np.abs(ended - began).max()))
        assert np.all(np.abs(ended - began) < most + step * np.abs(began))
    assert max(moved) > 0


def scored(workdir: Path) -> None:
    """Checks what a full-duplex run writes about its model."""
    report, items, record = (json.loads((workdir / f"{n}.json").read_text()) for n in ("report", "items", "record"))
    assert list(report["scenarios"]) == list(SCORERS) and len(report["baselines"]) == 4 and len(report["curves"]) == 2
    full, half = report["skills"].values()
    assert full.keys() == half.keys() and "s2s" in full and "calls" not in full
    for name, one in report["scenarios"].items():
        assert list(items[f"scenarios.{name}.success"].values()) == [one["success"]]
    assert record["finished"] and record["metrics"]["scenarios.pause.success"] in (0, 1)


@pytest.mark.parametrize("command", parameters(of_configs()))
def test_a_command_of_a_config(command: Command, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(command, place, tmp_path, monkeypatch)


@pytest.mark.slow
def test_a_run_on_calls_answers_its_other_rows(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (command,) = [one for one in of_configs() if one.file == "duplex_8b" and one.launcher == "experiments.train"]
    rows = {
        f"--config.data.sets.{name}.eval_path={path}" for name, path in (("calls", place.calls), ("text", place.rows))
    }
    runs(command._replace(words=(*command.words, *sorted(rows))), place, tmp_path, monkeypatch)
    capsys.readouterr()
    start("experiments.evaluate", (f"--workdir={tmp_path / 'run'}", "--most=2"), monkeypatch)
    found = json.loads(capsys.readouterr().out)
    assert "text/exact" in found and "calls/exact" not in found and "calls/text_loss" in found


@pytest.mark.parametrize("command", parameters(of_docs(), of_configs()))
def test_a_command_of_the_docs(command: Command, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs(command, place, tmp_path, monkeypatch)


@pytest.mark.parametrize("script", SCRIPTS, ids=[one.name for one in SCRIPTS])
def test_the_command_in_the_head_of_a_script_asks_for_what_its_devices_can_do(
    script: Path,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = of_script(script, tmp_path / "programs")
    assert command.value("--cluster") in ("tpu", "slurm")
    capsys.readouterr()
    monkeypatch.chdir(ROOT)
    start("experiments.train", (*placed(command, place, tmp_path).words, "--show_config"), monkeypatch)
    shown = json.loads(capsys.readouterr().out)
    devices = devices_of(head_of(script))
    mesh = {axis: size or 1 for axis, size in shown["mesh"].items()}
    named = int(np.prod([size for size in mesh.values() if size != -1]))
    assert devices % named == 0 and (-1 in mesh.values() or named == devices)
    shards = devices // (mesh["context"] * mesh["tensor"])
    for stage in shown["stages"].values():
        assert stage["data"]["batch_rows"] % (shards * stage["micro_batches"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=[one.name for one in SCRIPTS])
def test_the_command_in_the_head_of_a_script(
    script: Path, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs(of_script(script, tmp_path / "programs"), place, tmp_path, monkeypatch)


def devices_of(head: str) -> int:
    """Devices that the head of a script asks for."""
    slices, nodes = re.search(r"SLICES=(\d+)", head), re.search(r"--nodes=(\d+)", head)
    chips = re.search(r"TYPE=v5litepod-(\d+)", head) or re.search(r"--gpus-per-node=(\d+)", head)
    assert chips
    return int(chips[1]) * int((slices or nodes or {1: 1})[1])


def test_a_command_is_found_in_every_place() -> None:
    text = """
    python -m experiments.train --config a.py --workdir w \\
        --config.mesh.fsdp=4 [--config.KEY=VALUE ..]      (remark)
    .venv/bin/python -m experiments.plan --config=a.py --topology v5e:8x8 --search [--tries=6]   # remark
    python -m experiments.train --cluster=tpu ..
    `python -m experiments.planning.table` and `python -m experiments.evaluate --workdir w`
    """
    assert [(one.launcher, one.words) for one in commands_in(text, "")] == [
        ("experiments.train", ("--config=a.py", "--workdir=w", "--config.mesh.fsdp=4")),
        ("experiments.plan", ("--config=a.py", "--topology=v5e:8x8", "--search")),
        ("experiments.evaluate", ("--workdir=w",)),
    ]
    assert {one.file for one in of_configs()} >= {"sft_8b", "sft_30b_a3b", "dpo_30b_a3b", "librispeech", "quickstart"}
    assert {one.file for one in of_docs()} == {"scaling.md", "finetuning.md", "training.md"}
