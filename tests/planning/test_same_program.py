"""`experiments.plan` compiles the program that `experiments.train` runs, for every plan of docs/scaling.md, tiny."""

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

import jax
import pytest
from launchers import called
from record_run import write_initial
from spoken_dialogues import dialogue
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, write_jsonl

from data_pipelines.duplex.folder import write_calls
from data_pipelines.duplex.make import CallsConfig
from experiments.planning import table
from fac_jax.models.config import MoEConfig
from fac_jax.training import program

DEVICES = 8  # that the tests' CPU plays
HEADS = {"num_heads": 4, "num_kv_heads": 2}
MOE = {"moe": MoEConfig(num_experts=8, top_k=2, expert_width=16, aux_loss_coef=0.01)}
MODELS: dict[str, dict[str, Any]] = {
    "8b": {"text": HEADS, "head": HEADS},
    "30b_a3b": {"text": {**HEADS, **MOE}, "head": HEADS},
}


class CompilesError(Exception):
    """Ends a launcher where it would compile its step."""

    def __init__(self, arguments: Any, text: str) -> None:
        super().__init__("a step is compiled")
        self.arguments, self.text = arguments, text


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step that is traced and not compiled."""

    step: Any

    def lower(self, *arguments: Any) -> None:
        raise CompilesError(arguments, self.step.lower(*arguments).as_text())


@dataclasses.dataclass(frozen=True)
class Place:
    """Models to start from, by the end of a config's name, and rows."""

    folder: Path
    models: dict[str, Path]
    rows: dict[str, dict[str, Path]]  # of every set, by the beginning of a config's name


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("same_program")
    save(folder / "a.wav", 1.0)
    conversation = release_row(PLACEHOLDER, "two", audio=[heard("a.wav", 1.0)])
    rows = {
        kind: write_jsonl(folder / f"{kind}.jsonl", [{**row, "id": f"{kind}{i}"} for i in range(3)])
        for kind, row in (("sft", conversation), ("dpo", preference_row()))
    }
    sets = {kind: {"mine": path} for kind, path in rows.items()}
    assert not write_calls(folder / "calls", [dialogue("a")], 1, CallsConfig(0, (50, 50)), "wav", 1)
    sets["duplex"] = {"calls": folder / "calls", "spoken": rows["sft"], "text": rows["sft"]}
    models = {name: write_initial(folder / name, codec=True, **changes) for name, changes in MODELS.items()}
    return Place(folder, models, sets)


def tiny(row: table.Row) -> table.Row:
    """A plan of the table on the devices of the tests."""
    sizes = {axis: int(size) for axis, _, size in (part.partition("=") for part in row.mesh.split(","))}
    sizes["fsdp"] = sizes["fsdp"] * DEVICES // math.prod(sizes.values())
    mesh = ",".join(f"{axis}={size}" for axis, size in sizes.items())
    return table.Row(row.config, f"cpu:{DEVICES}", mesh, row.options)


PLANS = dict.fromkeys(tiny(row) for row in table.ROWS)  # some of them are equal at this size
FAST = (table.Row("sft_8b", "cpu:8", "fsdp=8"),)
MORE = (
    table.Row("dpo_30b_a3b", "cpu:8", "fsdp=2,expert=2,tensor=2", ("--config.stages.dpo.loss.reference=frozen",)),
    table.Row("sft_8b", "cpu:8", "", ("--config.stages.sft.trainable=('backbone/',)",)),
    table.Row("sft_8b", "cpu:8", "fsdp=4,tensor=2", ("--config.rules=fsdp_tensor",)),
    table.Row("sft_30b_a3b", "cpu:8", "fsdp=2,expert=2,context=2", ("--config.stages.sft.micro_batches=2",)),
)


def name(row: table.Row) -> str:
    return " ".join((row.config, row.mesh, *row.options))


def compiled(launcher: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> CompilesError:
    """What a launcher compiles for these words."""
    monkeypatch.setattr(sys, "argv", [launcher, *words])  # where ml_collections looks for the keys of a config
    with pytest.raises(CompilesError) as caught:
        called(launcher, *words)
    return caught.value


def described(arguments: Any) -> dict[str, Any]:
    """Shape, dtype and sharding of every leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(arguments)
    return {
        jax.tree_util.keystr(path): (leaf.shape, leaf.dtype, jax.typeof(leaf).weak_type, leaf.sharding)
        for path, leaf in leaves
    }


ROWS = dict.fromkeys((*PLANS, *MORE))


@pytest.mark.parametrize(
    "row", [pytest.param(row, marks=[pytest.mark.slow] * (row not in FAST)) for row in ROWS], ids=map(name, ROWS)
)
def test_a_plan_and_a_run_compile_one_program(
    row: table.Row, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_step = program.make_step
    monkeypatch.setattr(program, "make_step", lambda *arguments: Step(make_step(*arguments)))
    monkeypatch.setenv("XLA_FLAGS", "")  # a plan adds to it
    stage, _, model = row.config.partition("_")
    windows = 32 if stage == "duplex" else 4
    sizes = {"data.batch_rows": 64, "data.seq_len": 96, "data.windows_per_row": windows, "loss.chunk": 32}
    words = (
        f"--config={table.CONFIGS / row.config}.py",
        f"--config.model.init_from={place.models[model]}",
        *(f"--config.data.sets.{name}.path={path}" for name, path in place.rows[stage].items()),
        *(f"--config.stages.{stage}.{key}={value}" for key, value in sizes.items()),
        *row.options,
    )
    mesh = row.mesh or "fsdp=-1"  # of a plan without a mesh
    of_run = (f"--workdir={tmp_path}", f"--data_dir={place.folder / 'data'}")
    run = compiled(
        "experiments.train", (*words, *of_run, *(f"--config.mesh.{size}" for size in mesh.split(","))), monkeypatch
    )
    of_plan = (f"--topology={row.topology}", *([f"--mesh={row.mesh}"] if row.mesh else []))
    plan = compiled("experiments.plan", (*words, *of_plan), monkeypatch)
    assert described(plan.arguments) == described(run.arguments)
    assert jax.tree.structure(plan.arguments) == jax.tree.structure(run.arguments)
    assert plan.text == run.text


@pytest.mark.parametrize("page", table.PAGES)
def test_the_table_of_the_docs_has_these_plans(page: str) -> None:
    found = table.standing((table.DOCS / f"{page}.md").read_text())
    assert list(found) == [row.key for row in table.PAGES[page]]
    assert {len(cells) for cells in found.values()} == {len(table.HEADS)}
