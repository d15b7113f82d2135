"""Plans of training steps, on devices that a CPU plays; the launcher's exit codes, JSON and refusals."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import pytest
from launchers import called

from experiments.comparing.page import between
from experiments.planning import table
from experiments.planning.estimate import least_seconds, links, sending_rate, wide_bytes
from experiments.planning.gpu_targets import TARGETS, target_config
from experiments.planning.hlo import Collective
from experiments.planning.search import Candidate, guessed_collectives, with_rows
from experiments.planning.shares import SHARES
from experiments.planning.step import budget_of, helps, refused_bytes, stage_batch
from experiments.planning.topologies import Topology, flags_of, topology_of
from fac_jax.batching.batch_config import BatchConfig
from fac_jax.batching.packing import Budget
from fac_jax.models.lora import LoraConfig
from fac_jax.models.presets import preset
from fac_jax.parallel.chips import CHIPS
from fac_jax.parallel.mesh import make_layout
from fac_jax.training.base import BaseConfig, quantised
from fac_jax.training.program import abstract_params
from fac_jax.training.stage import StageConfig
from fac_jax.types import Batch, InputError

ROOT = Path(__file__).parents[2]
CONFIG = """
from experiments.configs import base
from experiments.run.config import DataConfig

def get_config():
    small = {"width": 32, "depth": 1, "mlp_width": 48, "num_heads": 2, "num_kv_heads": 2, "head_dim": 16}
    audio = {"width": 16, "depth": 1, "num_heads": 2, "mlp_width": 32, "n_window": 20}
    model = {"preset": "tiny", "text": small, "head": small, "audio": audio, "vocab_size": 64}
    data = {"batch_rows": 4, "seq_len": 16, "windows_per_row": 2}
    merge = base.merge_stage("sft", {"^backbone": 0.5})
    stages = {"sft": base.stage(4, 1e-3, {"mine": 1.0}, data=data), "merge": merge}
    return base.config(model, stages, data=DataConfig({"mine": base.rows("mine.jsonl")}))
"""
KEYS = "fits topology mesh per_chip_bytes hbm_bytes flops estimated_step_seconds estimated_mfu collectives".split()


def plan(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "experiments.plan", f"--config={config}", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    words = ("--topology=cpu:4", "--mesh=fsdp=2,tensor=2", "--json")
    return plan(tmp_path_factory.mktemp("plan"), *words)


def test_a_plan_has_every_key(planned: subprocess.CompletedProcess[str]) -> None:
    assert planned.returncode == 0, planned.stderr
    found = json.loads(planned.stdout)
    assert set(KEYS) <= set(found)
    assert found["fits"] is True and found["topology"] == "cpu:4" and found["mesh"] == {"fsdp": 2, "tensor": 2}
    assert found["estimated_mfu"] is None  # what a CPU can do is not known
    memory = found["per_chip_bytes"]
    assert memory["peak"] >= memory["arguments"] > sum(memory["state"].values()) > 0
    assert memory["state"]["optimizer"] == pytest.approx(2 * memory["state"]["parameters"], rel=0.01)
    assert {"all-gather", "all-reduce"} <= {one["kind"] for one in found["collectives"]}
    assert found["flops"]["executed_total"] > found["flops"]["needed_total"] > 0


@pytest.mark.slow
def test_what_does_not_fit_exits_with_1_and_says_by_how_much(tmp_path: Path) -> None:
    result = plan(tmp_path, "--topology=cpu:2", "--hbm_gib=0.0001")
    assert result.returncode == 1, result.stderr
    assert "does not fit: " in result.stdout and "GiB a chip too much" in result.stdout
    assert "would help: --config.model.remat=full" in result.stdout


@pytest.mark.slow
def test_replies_are_planned_for_one_device(tmp_path: Path) -> None:
    result = plan(tmp_path, "--topology=cpu:2", "--decode=2,3", "--positions=64", "--hbm_gib=0.0001", "--json")
    assert result.returncode == 1, result.stderr
    two, three = json.loads(result.stdout)
    assert not two["fits"] and two["weights"] == "float32" and (two["slots"], three["slots"]) == (2, 3)
    keys = 2 * 4 * 2 * 16 * (1 + 5)  # bytes of a position: key and value, 2 heads, LLM once and head 5 times
    assert 64 * keys < three["slot_bytes"] - two["slot_bytes"] < 64 * keys + 4000
    assert two["peak_bytes"] > two["weight_bytes"] + two["slot_bytes"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--topology=cpu:4", "--decode=1,0"], "--decode=1,0: each is a number of replies"),
        (["--topology=cpu:4", "--decode="], "--decode=: each is a number of replies"),
        (["--topology=cpu:4", "--decode=1", "--mesh=fsdp=1"], "--mesh is of training"),
        (["--topology=cpu:4", "--quantize=int8"], "--quantize=int8 is of replies"),
        (["--topology=v7:4x4"], "--topology=v7:4x4: not known; it is like v5e:4x4"),
        (["--topology=v5p:4x4"], "a slice of v5p has 3 sides, v5p:4x4x4"),
        (["--topology=cpu:4", "--mesh=fsdp=3"], "does not multiply to the 4 devices"),
        (["--topology=cpu:4", "--mesh=fsdp"], "'fsdp' is not AXIS=NUMBER"),
        (["--topology=cpu:4", "--stage=dpo"], "--stage=dpo: no such stage that trains; the recipe has sft, merge"),
        (["--topology=gpu"], "there is no gpu here"),
    ],
)
def test_what_cannot_be_is_refused(
    tmp_path: Path, words: Sequence[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert jax.device_count() == 8  # starts the backend before a plan asks for other devices
    monkeypatch.setenv("XLA_FLAGS", "")  # a plan adds to it
    config = tmp_path / "config.py"
    config.write_text(CONFIG)
    with pytest.raises(InputError) as refused:
        called("experiments.plan", f"--config={config}", *words)
    assert message in str(refused.value)


STAGE = StageConfig(
    "a", 1, data=BatchConfig(batch_rows=8, seq_len=128, windows_per_row=10, segments=3), micro_batches=4
)


def test_a_batch_has_the_rows_of_the_config_in_its_micro_batches() -> None:
    layout = make_layout({"fsdp": 1}, devices=jax.devices()[:1])
    assert budget_of(STAGE) == Budget(rows=8, seq_len=128, windows_per_row=10, segments=3)
    batch = stage_batch(preset("tiny"), STAGE, layout)
    assert isinstance(batch, Batch)
    assert batch.kind.shape == (4, 2, 128) and batch.mel_windows.shape[:2] == (4, 2 * 10)
    six = dataclasses.replace(STAGE, data=dataclasses.replace(STAGE.data, batch_rows=6))
    with pytest.raises(InputError, match=r"stages\.a\.data\.batch_rows is 6, which 4 equal parts do not divide"):
        stage_batch(preset("tiny"), six, layout)


def test_every_gpu_that_may_be_absent_is_described() -> None:
    assert TARGETS.keys() == SHARES.keys() and TARGETS.keys() <= CHIPS.keys()
    card = target_config("rtx4090")
    assert "major: 8 minor: 9" in card and "device_memory_size: 24000000000" in card
    assert f"shared_memory_per_block_optin: {99 * 1024}" in card and "threads_per_core_limit: 1536" in card


def test_an_adapter_that_does_not_fit_may_hold_its_base_in_fewer_bits() -> None:
    layout, memory = make_layout({"fsdp": 1}, devices=jax.devices()[:1]), {"state": {"parameters": 1}}
    adapter = dataclasses.replace(STAGE, lora=LoraConfig())
    help = "--config.stages.a.base.quantise=nf4: 4.1 bits for a weight that is frozen"
    assert help in helps(preset("tiny"), adapter, layout, memory, 1e9)
    done = dataclasses.replace(adapter, base=BaseConfig("nf4"))
    for stage in (STAGE, done):
        assert not any("base.quantise" in found for found in helps(preset("tiny"), stage, layout, memory, 1e9))


def test_weights_in_fewer_bits_are_as_wide_when_they_are_multiplied() -> None:
    params = abstract_params(preset("tiny"), make_layout({"fsdp": 4, "tensor": 2}))
    for base in (BaseConfig("int8"), BaseConfig("nf4", tables=True)):
        assert wide_bytes(quantised(params, base, ()), "bfloat16") == wide_bytes(params, "bfloat16")


def test_windows_that_are_left_to_the_data_are_asked_for() -> None:
    with pytest.raises(InputError, match=r"stages\.a\.data\.windows_per_row is not set: .*windows_per_row=N"):
        budget_of(StageConfig("a", 1))


def test_a_refusal_for_want_of_memory_is_read() -> None:
    told = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 19.50G of 15.75G hbm. Exceeded by 3.75G."
    assert refused_bytes(RuntimeError(told)) == 19.5 * 2**30
    told = "the total memory required for HLO temporaries (180.00G) exceeds available HBM (15.75G)."
    assert refused_bytes(RuntimeError(told)) == 180 * 2**30
    with pytest.raises(RuntimeError, match="something else"):
        refused_bytes(RuntimeError("something else"))


def slice_of(name: str, *sides: int) -> Topology:
    count = 1
    for side in sides:
        count *= side
    return Topology(name, range(count), CHIPS[name], sides, count)


@pytest.mark.parametrize(
    ("topology", "group", "share"),
    [
        (slice_of("v5e", 16, 16), 256, 1.0),
        (slice_of("v5e", 16, 16), 16, 0.5),
        (slice_of("v5e", 8, 8), 64, 0.5),  # no side closes to a ring
        (slice_of("v5e", 8, 8), 8, 0.25),
        (slice_of("v5p", 4, 4, 4), 64, 1.0),
        (slice_of("v5p", 4, 4, 4), 4, 1 / 3),
    ],
)
def test_links_that_a_group_can_use(topology: Topology, group: int, share: float) -> None:
    assert links(topology, group) == pytest.approx(share)


@pytest.mark.parametrize(
    ("kind", "group", "span", "gigabytes"),
    [
        ("all-gather", 8, 8, 450),  # a host, by NVLink
        ("all-gather", 16, 16, 400),  # eight adapters of 50 GB/s each
        ("all-reduce", 2, 9, 50),  # one GPU of each host
        ("all-to-all", 16, 16, 50),
    ],
)
def test_what_gpus_of_two_hosts_send(kind: str, group: int, span: int, gigabytes: float) -> None:
    chip = CHIPS["h100"]
    gpus = Topology("h100:2x8", range(16), chip, (16,), 8)
    assert sending_rate(gpus, chip, Collective(kind, group, 1, 1, span)) == gigabytes * 1e9


@pytest.mark.parametrize("name", ["h100:", "h100:0", "h100:2x", "h200:2x8x2"])
def test_numbers_of_gpus_that_make_no_hosts(name: str) -> None:
    with pytest.raises(InputError, match="GPUs of one host, h[12]00:8, or hosts x GPUs"):
        topology_of(name)


def test_bounds_by_hand() -> None:
    chips = slice_of("v5p", 4, 4, 4)
    found = [Collective("all-gather", 64, 1, 64 * 600_000_000, 64)]
    bounds = least_seconds(chips, executed=64 * 459e12 * 2, traffic=2765e9 * 3, found=found)
    assert bounds == {"arithmetic": 2.0, "memory": pytest.approx(3.0), "network": pytest.approx(0.063)}
    assert least_seconds(dataclasses.replace(chips, chip=None), 1.0, 1.0, found) == {}


@pytest.mark.slow  # compiles; what a search ranks and leaves out has tests below
def test_a_search_prints_what_fits(tmp_path: Path) -> None:
    result = plan(tmp_path, "--topology=cpu:2", "--search", "--tries=1", "--json")
    assert result.returncode == 0, result.stderr
    (found,) = json.loads(result.stdout)
    assert found["fits"] and found["mesh"] == {"fsdp": 2} and found["remat"] in ("none", "dots")


def test_a_search_counts_rows_of_a_shard_and_a_micro_batch() -> None:
    layout = make_layout({"fsdp": 1}, devices=jax.devices()[:1])
    assert budget_of(with_rows(STAGE, 2, layout)) == Budget(2 * 4, 128, 10, 3)


def test_a_search_leaves_out_what_needs_more_than_what_did_not_fit() -> None:
    failed = Candidate({"fsdp": 8}, 2, "dots", 0.5)
    assert Candidate({"fsdp": 8}, 4, "none", 0.5).larger(failed)
    assert not Candidate({"fsdp": 8}, 2, "full", 0.5).larger(failed)
    assert not Candidate({"fsdp": 4, "tensor": 2}, 4, "none", 0.5).larger(failed)


def test_a_mesh_without_a_second_axis_only_gathers() -> None:
    layout = make_layout({"fsdp": -1}, devices=jax.devices()[:1])
    assert guessed_collectives(preset("tiny"), STAGE, layout, {"parameters": 8, "reference": 0}) == []


def test_devices_to_play_are_asked_for_by_number() -> None:
    assert flags_of("cpu:8") == "--xla_force_host_platform_device_count=8"
    assert flags_of("cpu") is None and flags_of("v5e:4x4") is None
    assert flags_of("h100:8") == "--xla_gpu_autotune_level=0"
    assert topology_of("cpu").sides == (len(jax.devices("cpu")),)


def test_the_table_of_plans_stands_between_its_marks() -> None:
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert between(page, table.BEGIN, table.END, "new") == f"before\n{table.BEGIN}\nnew\n{table.END}\nafter\n"
    with pytest.raises(InputError, match="no place for the table"):
        between("nothing", table.BEGIN, table.END, "new")


def test_a_line_of_the_table_is_that_of_its_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "fits": True,
        "per_chip_bytes": {"peak": 3 * 2**30},
        "hbm_bytes": 16 * 2**30,
        "bounds": {"arithmetic": 0.5, "network": 1.25},
        "estimated_step_seconds": 1.25,
        "estimated_mfu": 0.4,
        "expected_step_seconds": 1.5,
        "expected_mfu": 0.333,
    }
    monkeypatch.setattr(table, "planned", lambda row: (found, 61.2, 2.5))
    line = table.cells(table.Row("sft_8b", "v5e:8x8", "fsdp=64"))
    assert dict(zip(table.HEADS, line, strict=True)) == {
        "config": "sft_8b",
        "topology": "v5e:8x8",
        "mesh": "fsdp=64",
        "GiB of a chip": "3.0",
        "has": "16.0",
        "step, s": "1.25",
        "MFU at most": "40%",
        "bound by": "network",
        "expected, s": "1.50",
        "MFU expected": "33%",
        "plan, CPU s": "61",
        "host GiB": "2.5",
    }
