"""What a training step becomes for a GPU that is not there; `make test-absent-gpu` runs it, without a GPU.

Limits are a little above what was counted, so that a change that costs kernels or memory traffic is seen.
"""

import dataclasses
from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
from grouped_cases import SIZES, worst
from jax.experimental.pallas import mosaic_gpu

from experiments.planning.decoding import make_decoding_plan
from experiments.planning.gpu_kernels import gpu_kernels
from experiments.planning.gpu_targets import asked_of
from experiments.planning.step import Plan, make_plan
from experiments.planning.topologies import topology_of
from fac_jax.batching.batch_config import BatchConfig
from fac_jax.models.lora import LoraConfig
from fac_jax.models.presets import preset
from fac_jax.parallel import grouped
from fac_jax.parallel.mesh import make_layout
from fac_jax.training.base import BaseConfig, Form
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
    for kind, gigabytes, count in (("elementwise", 53.0, 2700), ("product", 22.5, 400), ("attention", 3.1, 40)):
        found = [one for one in plan.kernels if one.kind == kind]
        figures(f"{kind}, GB", sum(one.bytes for one in found) / 1e9, gigabytes)
        figures(f"{kind}, kernels", sum(one.count for one in found), count)
    figures("temporaries, GiB", plan.per_chip_bytes["temporaries"] / 2**30, 4.1)
    figures("expected seconds of a step", plan.expected_step_seconds, 0.037)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_an_llm_step_of_the_8b_has_few_kernels_and_reads_weights_as_they_are(quantize, figures) -> None:
    with asked_of("h100"):
        plan = make_decoding_plan(preset("8b"), topology_of("h100:1"), 8, 512, quantize)
    name = f"8B, {plan.weights}, 8 slots"
    figures(f"{name}: kernels an LLM step", sum(one.count for one in plan.kernels), 2650)
    figures(f"{name}: seconds to compile", plan.compile_seconds, 60)
    temporaries = plan.peak_bytes - plan.weight_bytes - plan.slot_bytes
    figures(f"{name}: temporaries, MB", temporaries / 1e6, 20)  # no weight is written wide
    once, again = 15.34 / (2 if quantize else 1), 0.951 / (2 if quantize else 1)  # GB of weights, the head's G times
    moved = sum(one.bytes for one in plan.kernels if one.kind == "product") / 1e9
    figures(f"{name}: bytes of products over those of weights", moved / (once + 5 * again), 1.05)


@pytest.mark.parametrize("case", SIZES)
def test_the_kernels_of_the_grouped_product_equal_the_reference_interpreted(case: str, figures) -> None:
    cores = [SimpleNamespace(core_count=132)]
    with (
        mock.patch.object(grouped, "ROWS", 256),
        mock.patch.object(jax, "devices", lambda: cores),
        mosaic_gpu.force_gpu_interpret_mode(mosaic_gpu.InterpretGPUParams()),
    ):
        for name, difference in worst(grouped.hopper_product, SIZES[case]).items():
            figures(f"grouped product, interpreted, {case}, {name}: max rel diff", difference, 1e-2)


def test_the_grouped_product_compiles_to_three_kernels_for_a_step() -> None:
    """Of an expert's product one forward, one for the gradient of the rows, one for that of the kernels."""
    on = jax.sharding.SingleDeviceSharding(topology_of("h200:1").devices[0])
    shapes = (((131_072, 2048), jnp.bfloat16), ((16, 2048, 768), jnp.bfloat16), ((16,), jnp.int32))
    arguments = [jax.ShapeDtypeStruct(shape, dtype, sharding=on) for shape, dtype in shapes]
    with asked_of("h200"):
        gradient = jax.grad(lambda *a: jnp.sum(grouped.hopper_product(*a).astype(jnp.float32) ** 2), (0, 1))
        text = jax.jit(gradient).lower(*arguments).compile().as_text()
    found = {one.kind: one for one in gpu_kernels(text or "")}
    assert found["grouped"].count == 3
    assert "product" not in found


@pytest.mark.parametrize(("card", "base", "gib"), [("rtx4090", "nf4", 11.0), ("l40s", None, 22.5)])
def test_an_adapter_of_the_8b_fits_a_card(card: str, base: Form | None, gib: float, figures) -> None:
    model = dataclasses.replace(preset("8b"), dtype="bfloat16", param_dtype="bfloat16", remat="full")
    data = dataclasses.replace(DATA, batch_rows=1, segments=1)
    stage = StageConfig("lora", 10, data=data, lora=LoraConfig(), base=BaseConfig(base))
    topology = topology_of(f"{card}:1")
    with asked_of(card):
        plan = make_plan(model, stage, topology, make_layout({"fsdp": 1}, devices=topology.devices), "auto")
    assert plan.fits
    figures(f"8B with a base in {base or 'bfloat16'}, {card}: peak, GiB", plan.per_chip_bytes["peak"] / 2**30, gib)
