"""The step that a plan compiles is the one that training compiles: equal state, equal batch."""

from pathlib import Path
from typing import Any

import jax
import pytest
from ml_collections import ConfigDict
from record_run import make_config, run, write_initial
from user_rows import PLACEHOLDER, heard, preference_row, release_row, save, write_jsonl

from experiments.planning import step as planning
from experiments.planning.topologies import Topology
from experiments.run.config import resolve_config
from fac_jax.parallel.mesh import make_layout
from fac_jax.training import recipe

PREFERENCE = {"kind": "preference", "reference": "frozen"}


class Compiles(Exception):
    """Ends a program where it would compile its step; holds the step's arguments."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__("a step is compiled")
        self.arguments = arguments


class Step:
    """Stands for a training step."""

    def lower(self, *arguments: Any) -> None:
        raise Compiles(*arguments)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recipe, planning):
        monkeypatch.setattr(module, "make_step", lambda *_: Step())


def shapes(arguments: Any) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every leaf by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(arguments)
    return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in leaves}


def planned(config: ConfigDict) -> Any:
    """Arguments of the step that a plan compiles for the config's only stage."""
    found = resolve_config(config)
    (stage,) = found.stages
    devices = jax.devices()[:1]
    topology, layout = Topology("cpu", devices, None, (1,)), make_layout({"fsdp": 1}, devices=devices)
    with pytest.raises(Compiles) as caught:
        planning.make_plan(found.model, stage, planning.budget_of(stage), topology, layout, found.attention)
    return caught.value.arguments


@pytest.mark.parametrize(
    "stage",
    [
        {"trainable": ("backbone/",)},
        {"micro_batches": 2, "data": {"batch_rows": 4}},
        {"loss": PREFERENCE, "data": {"segments": 2, "batch_rows": 2}},
    ],
    ids=["a part trains", "micro-batches", "preferences"],
)
@pytest.mark.usefixtures("stopped")
def test_a_plan_and_a_run_compile_the_same_step(stage: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path / "a.wav", 1.0)
    row = preference_row() if "loss" in stage else release_row(PLACEHOLDER, "two", audio=[heard("a.wav", 1.0)])
    rows = write_jsonl(tmp_path / "rows.jsonl", [{**row, "id": f"r{i}"} for i in range(3)])
    config = make_config(write_initial(tmp_path / "initial"), {"mine": {"path": str(rows)}}, **stage)
    with pytest.raises(Compiles) as caught:
        run(config, tmp_path)
    assert shapes(caught.value.arguments) == shapes(planned(config))
