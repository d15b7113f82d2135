"""What a training step becomes for a GPU that is not there; `make test-absent-gpu` runs it, without a GPU.

Limits are a little above what was counted, so that a change that costs kernels or memory traffic is seen.
"""

import dataclasses

import pytest

from experiments.planning.gpu_targets import asked_of
from experiments.planning.step import Plan, make_plan
from experiments.planning.topologies import topology_of
from fac_jax.batching.batch_config import BatchConfig
from fac_jax.models.presets import preset
from fac_jax.parallel.mesh import make_layout
from fac_jax.training.stage import StageConfig

CONVERSATIONS = 6
DATA = BatchConfig(batch_rows=2, seq_len=2040, windows_per_row=90, segments=CONVERSATIONS)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The step of `base` in bfloat16 on the packed rows of the benchmark."""
    model = dataclasses.replace(preset("base"), dtype="bfloat16", remat="dots")
    topology = topology_of("h200:1")
    layout = make_layout({"fsdp": 1}, devices=topology.devices)
    with asked_of("h200"):
        return make_plan(
            model, StageConfig("sft", 10, data=DATA), topology, layout, "auto", conversations=CONVERSATIONS
        )


def test_products_and_attention_are_what_is_needed(plan: Plan, figures) -> None:
    needed = sum(plan.flops["needed"].values())
    products = [one for one in plan.kernels if one.kind == "product"]
    attention = plan.expected["attention"] / plan.expected_step_seconds
    figures("FLOPs of products over all that are needed", sum(one.flops for one in products) / needed, 0.96)
    figures("share of attention in the expected time", attention, 0.09)
    wide = sum(one.flops for one in products if one.dtype == "f32")
    figures("share of products in float32", wide / sum(one.flops for one in products), 0.001)


def test_memory_traffic_does_not_grow(plan: Plan, figures) -> None:
    for kind, gigabytes, count in (("elementwise", 53.0, 3900), ("product", 22.5, 400), ("attention", 3.1, 40)):
        found = [one for one in plan.kernels if one.kind == kind]
        figures(f"{kind}, GB", sum(one.bytes for one in found) / 1e9, gigabytes)
        figures(f"{kind}, kernels", sum(one.count for one in found), count)
    figures("temporaries, GiB", plan.per_chip_bytes["temporaries"] / 2**30, 4.1)
    figures("expected seconds of a step", plan.expected_step_seconds, 0.037)
