"""Analytic FLOPs against the products of the traced program, exactly, and against the compiler's count; by contents."""

import dataclasses
from typing import Any, get_args

import jax
import numpy as np
import pytest
from jax.extend.core import jaxprs_in_params
from jax.interpreters import partial_eval
from toy_training import MODEL, make_batch

from experiments.benchmarks.workloads import Conversation, packed_batch, preference_batch
from fac_jax.batching.batch_stats import batch_stats, causal_stats, dense_stats
from fac_jax.layers.attention import Attend, einsum_attend
from fac_jax.layers.kernels import Kernels
from fac_jax.layers.stack import Remat
from fac_jax.losses import Ctc, Preference, Sft
from fac_jax.losses.ctc import ctc_losses, transcripts
from fac_jax.models.config import ModelConfig, MoEConfig, replace
from fac_jax.models.flops import blocks, by_part
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.lora import LoraConfig
from fac_jax.models.presets import preset
from fac_jax.parallel.blocked import blocked_attend
from fac_jax.parallel.chips import CHIPS, chip_of, peak_flops_of
from fac_jax.training.flops import ATTENTION_AGAIN, Execution, Meter, adapter_shares, step_flops, trainable_paths
from fac_jax.training.program import abstract_params
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import bind
from fac_jax.training.trainable import join, split
from fac_jax.types import Batch

MOE = MoEConfig(num_experts=4, top_k=2, expert_width=24)
MIXED = MoEConfig(num_experts=4, top_k=2, expert_width=24, dense_layers=(0,))
ALIGNED = ("encoder/", "speech_embedder/continuous/", "refined_head/")


def product_flops(jaxpr: Any) -> int:
    """Two for every multiply-add of the matrix products of a traced program; a loop's as often as it runs."""
    total = 0
    for eqn in jaxpr.eqns:
        shapes = [var.aval.shape for var in eqn.invars]
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            total += 2 * int(np.prod([shapes[0][i] for i in contracted]) * np.prod(eqn.outvars[0].aval.shape))
        elif eqn.primitive.name == "ragged_dot_general":
            (rows, inner), made = shapes[0], eqn.outvars[0].aval.shape
            total += 2 * rows * inner * made[-1]  # [tokens, out], or [experts, in, out] of a gradient
        assert eqn.primitive.name != "while", "a loop of unknown length"
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        total += times * sum(product_flops(inner) for inner in jaxprs_in_params(eqn.params))
    return total


def gradient(config: ModelConfig, stage: StageConfig, attend: Attend) -> Any:
    """Loss and gradient of a stage, of trainable and frozen parameters, a batch and a reference."""
    objective = bind(stage.loss, FunAudioChat(config, Kernels(attend, attend)))

    def run(trainable: Any, frozen: Any, batch: Any, reference: Any) -> Any:
        def loss(params: Any) -> jax.Array:
            return objective.loss(join(params, frozen), batch, objective.counts(batch), reference)[0]

        return jax.value_and_grad(loss)(trainable)

    return run


def analysed(config: ModelConfig, stage: StageConfig, batch: Any, attend: Attend = einsum_attend) -> float:
    """FLOPs of the step by analysis."""
    params = abstract_params(config, None, stage.lora)
    rows = stage.loss.conversations(batch)
    again = ATTENTION_AGAIN[attend.__name__][config.remat]
    execution = Execution(rows.kind.shape[1], again, again)
    paths = trainable_paths(params, stage.patterns)
    return sum(step_flops(config, stage, paths, dense_stats(rows), execution, adapter_shares(params)).values())


def counts(config: ModelConfig, stage: StageConfig, batch: Any, attend: Attend = einsum_attend) -> tuple[float, float]:
    """FLOPs of the step: by analysis, of the traced program."""
    params = abstract_params(config, None, stage.lora)
    trainable, frozen = split(params, stage.patterns)
    reference = params if stage.loss.needs_reference == "frozen" else None
    traced = jax.make_jaxpr(gradient(config, stage, attend))(trainable, frozen, batch, reference).jaxpr
    traced, _ = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
    return analysed(config, stage, batch, attend), product_flops(traced)


@pytest.mark.parametrize(
    ("attend", "moe", "remat"),
    [
        pytest.param(attend, moe, remat, marks=[pytest.mark.slow] * (remat not in fast))
        for attend, moe, fast in ((einsum_attend, MOE, ("full", "dots")), (blocked_attend, None, ("none", "full")))
        for remat in get_args(Remat)
    ],
)
def test_a_step_of_all_parameters_is_what_its_program_multiplies(attend: Attend, remat: Remat, moe: Any):
    config = replace(MODEL, remat=remat, text={"moe": moe})
    mine, traced = counts(config, StageConfig("all", 1, loss=Sft(chunk=5)), make_batch(0, config=config), attend)
    assert mine == traced


@pytest.mark.parametrize(
    ("patterns", "remat"),
    [
        (ALIGNED, "full"),
        (("backbone/",), "save_attention"),
        (("(?!.*attention/o)",), "dots"),
        pytest.param(("refined_head/",), "none", marks=pytest.mark.slow),
        pytest.param(("backbone/",), "full", marks=pytest.mark.slow),
        pytest.param(("encoder/proj/",), "none", marks=pytest.mark.slow),
    ],
)
def test_frozen_parameters_cost_no_gradient_of_their_own(patterns: tuple[str, ...], remat: Remat):
    config = replace(MODEL, remat=remat)
    mine, traced = counts(config, StageConfig("some", 1, trainable=patterns, loss=Sft(chunk=5)), make_batch(0))
    assert mine == traced
    assert mine < analysed(config, StageConfig("all", 1, loss=Sft(chunk=5)), make_batch(0))


@pytest.mark.parametrize(
    ("targets", "remat", "moe"),
    [
        (("llm", "experts"), "full", MIXED),
        (("llm", "head", "bridge"), "save_attention", None),
        pytest.param(("llm", "head"), "none", None, marks=pytest.mark.slow),
        pytest.param(("experts",), "dots", MOE, marks=pytest.mark.slow),
        pytest.param(("head", "bridge"), "dots", None, marks=pytest.mark.slow),
        pytest.param(("encoder",), "full", None, marks=pytest.mark.slow),
    ],
)
def test_adapters_cost_their_small_products_and_no_gradient_of_kernels(targets: Any, remat: Remat, moe: Any):
    config = replace(MODEL, remat=remat, text={"moe": moe})
    stage = StageConfig("lora", 1, lora=LoraConfig(targets, rank=3), loss=Sft(chunk=5))
    mine, traced = counts(config, stage, make_batch(0, config=config))
    assert mine == traced


def test_a_step_of_adapters_takes_two_thirds_of_a_full_one() -> None:
    """4 N in place of 6 N for what is adapted, and 0.8 % for ranks of 16."""
    model, text = preset("8b"), Sft(speech_weight=0.0)
    stats = dense_stats(packed_batch(model, 1, 1, Conversation(64, 0, 0)))
    taken = []
    for stage in (StageConfig("full", 1, loss=text), StageConfig("lora", 1, lora=LoraConfig(("llm",)), loss=text)):
        params = abstract_params(model, None, stage.lora)
        paths = trainable_paths(params, stage.patterns)
        taken.append(step_flops(model, stage, paths, stats, adapters=adapter_shares(params))["backbone"])
    assert 0.66 < taken[1] / taken[0] < 0.68


@pytest.mark.parametrize(
    "config",
    [
        replace(MODEL, tie_embeddings=False),
        replace(MODEL, group_size=1),
        replace(MODEL, grouping="concat"),
        replace(MODEL, text={"moe": MIXED}, remat="full"),
        replace(MODEL, user_audio="tokens"),
    ],
    ids=["untied", "ungrouped", "concat", "mixed", "without encoder"],
)
def test_every_kind_of_model_is_counted(config: ModelConfig):
    mine, traced = counts(config, StageConfig("all", 1), make_batch(0, config=config))
    assert mine == traced


def test_without_speech_the_head_is_not_counted():
    mine, traced = counts(MODEL, StageConfig("loss", 1, loss=Sft(speech_weight=0.0)), make_batch(0))
    assert mine == traced


@pytest.mark.parametrize(
    "values", [{"loss": Ctc(), "trainable": ("encoder/",)}, {"loss": Sft(ctc_weight=1.0)}], ids=str
)
def test_ctc_is_counted_without_the_products_by_which_optax_picks(values: dict[str, Any]):
    batch = make_batch(0)

    def picking(logits: jax.Array) -> jax.Array:
        frames, words = transcripts(batch, MODEL.special)
        return ctc_losses(logits, frames, batch.labels, words, MODEL.special.pad).sum()

    rows, length, group = batch.speech_ids.shape
    logits = jax.ShapeDtypeStruct((rows, length * group, MODEL.vocab_size), "float32")
    mine, traced = counts(MODEL, StageConfig("loss", 1, **values), batch)
    assert mine + product_flops(jax.make_jaxpr(jax.value_and_grad(picking))(logits).jaxpr) == traced


@pytest.mark.parametrize("reference", ["stored", "frozen"])
def test_a_frozen_reference_costs_a_forward_pass(reference: Any):
    batch = preference_batch(packed_batch(MODEL, 2, 2, Conversation(3, 2, 4)), MODEL, 2)
    stage = StageConfig("pairs", 1, loss=Preference(reference=reference))
    mine, traced = counts(MODEL, stage, batch)
    assert mine <= traced <= 1.0002 * mine  # sums over the tokens of a reply are products there


def test_the_compiler_counts_the_same(figures):
    """Products alone are counted here, the compiler adds an operation for every element that anything else makes."""
    wide = {"width": 128, "depth": 2, "mlp_width": 384, "num_heads": 4, "num_kv_heads": 2, "head_dim": 32}
    audio = {"width": 128, "depth": 1, "num_heads": 2, "mlp_width": 512, "mel_bins": 128}
    config = replace(MODEL, text=wide, head=wide, audio=audio, vocab_size=512, codebook_size=512, scan_layers=False)
    stage, batch = StageConfig("all", 1), make_batch(0, config=config)
    params = abstract_params(config, None)
    lowered = jax.jit(gradient(config, stage, einsum_attend)).lower(params, {}, batch, None)
    compiler = lowered.compile().cost_analysis()["flops"]
    mine, traced = counts(config, stage, batch)
    assert mine == traced
    figures("compiler's FLOPs of a step / analytic, - 1", abs(compiler / mine - 1), 0.05)
    output = jax.jit(lambda params, batch: _forward(config, params, batch)).lower(params, batch).compile()
    mine = sum(by_part(blocks(config, dense_stats(batch))).values())
    figures("compiler's FLOPs of a forward pass / analytic, - 1", abs(output.cost_analysis()["flops"] / mine - 1), 0.05)


def _forward(config: ModelConfig, params: Any, batch: Batch) -> Any:
    def run(model: FunAudioChat, batch: Batch) -> Any:
        out = model(batch)
        return model.text_logits(out.hidden), model.speech_logits(out.speech_hidden)

    return FunAudioChat(config).apply({"params": params}, batch, method=run)


def test_needed_work_is_counted_pair_by_pair():
    batch = packed_batch(MODEL, 2, 2, Conversation(3, 2, 4))
    batch.segment_ids[1, 9:] = 0  # the second conversation of the second row is padding
    batch.mel_lengths[:] = [40, 40, 7, 0]
    stats = batch_stats(batch)
    same = batch.segment_ids[:, :, None] == batch.segment_ids[:, None]
    seen = same & (batch.segment_ids > 0)[:, :, None] & (batch.positions[:, None] <= batch.positions[:, :, None])
    assert np.array_equal(stats.pairs, seen.sum(axis=(1, 2)))
    fine = np.repeat(batch.segment_ids, 5, axis=1)
    order = np.tril(np.ones((fine.shape[1],) * 2, bool))
    seen = (fine[:, :, None] == fine[:, None]) & (fine > 0)[:, :, None] & order
    assert np.array_equal(stats.fine_pairs, seen.sum(axis=(1, 2)))
    assert stats.positions.tolist() == [18, 9]
    assert (stats.groups, stats.features) == (3 * 4, 3 * 2)
    assert (stats.mel_frames, stats.frames, stats.frame_pairs, stats.audio_frames) == (87, 44, 816, 22)
    stacked = batch_stats(jax.tree.map(lambda leaf: np.stack([leaf, leaf]), batch))
    assert stacked.fine_pairs.shape == (2, 2) and stacked.frame_pairs == 2 * stats.frame_pairs


def test_a_causal_kernel_skips_blocks_that_see_nothing():
    stats = dense_stats(packed_batch(MODEL, 2, 1, Conversation(256, 0, 0)))
    skipped = causal_stats(stats, (512, 128), 5)
    assert skipped.pairs.tolist() == [3 * 128**2] * 2  # of four blocks
    assert skipped.fine_pairs.tolist() == [55 * 128**2] * 2  # of ten times ten


def test_padding_is_executed_but_not_needed():
    batch = make_batch(0)
    stage, paths = StageConfig("all", 1), trainable_paths(abstract_params(MODEL, None), ("",))
    padded = jax.tree.map(lambda leaf: np.concatenate([leaf, np.zeros_like(leaf)]), batch)
    needed = [step_flops(MODEL, stage, paths, batch_stats(rows)) for rows in (batch, padded)]
    executed = [step_flops(MODEL, stage, paths, dense_stats(rows)) for rows in (batch, padded)]
    assert needed[0] == needed[1]
    assert all(twice == 2 * once for once, twice in zip(executed[0].values(), executed[1].values(), strict=True))
    assert all(needed[0][part] <= executed[0][part] for part in needed[0])


def test_only_the_picked_experts_count():
    stats = dense_stats(packed_batch(preset("tiny"), 1, 1, Conversation(8, 8, 8)))
    mixture = by_part(blocks(preset("30b_a3b"), stats))["backbone"]
    config = preset("30b_a3b", text={"moe": None, "mlp_width": 8 * 768})
    router = 48 * 2 * 24 * 2048 * 128
    assert mixture == by_part(blocks(config, stats))["backbone"] + router


def test_the_8b_backbone_costs_two_flops_a_parameter_and_token():
    """6.95 B parameters of 36 layers; attention of one position on itself adds 4 N H a layer."""
    config = preset("8b")
    batch = packed_batch(preset("tiny"), 1, 1, Conversation(text=1, heard=0, spoken=0))
    layer = 4096 * 128 * (2 * 32 + 2 * 8) + 3 * 4096 * 12288
    assert by_part(blocks(config, dense_stats(batch)))["backbone"] == 36 * (2 * layer + 4 * 32 * 128)


def test_grouping_by_five_saves_more_than_half(figures):
    """The same conversation on equal audio at 5 Hz and at 25 Hz (the paper's k = 5 and k = 1)."""
    costs = {}
    for group in (5, 1):
        config = preset("8b", group_size=group)
        one = Conversation(text=40, heard=150 * 5 // group, spoken=150 * 5 // group)
        grid = packed_batch(dataclasses.replace(preset("tiny"), group_size=group), 1, 1, one)
        paths = trainable_paths(abstract_params(config, None), ("",))
        costs[group] = step_flops(config, StageConfig("all", 1), paths, batch_stats(grid))
    figures("8B backbone, FLOPs of k=5 / k=1", costs[5]["backbone"] / costs[1]["backbone"], 0.5)
    figures("8B whole, FLOPs of k=5 / k=1", sum(costs[5].values()) / sum(costs[1].values()), 0.5)


def test_the_meter_gives_what_a_batch_needs():
    paths = trainable_paths(abstract_params(MODEL, None), ("",))
    stats = batch_stats(make_batch(0))
    parts = step_flops(MODEL, StageConfig("all", 1), paths, stats)
    assert Meter(MODEL, StageConfig("all", 1), paths).flops(stats) == sum(parts.values())


def test_devices_are_known_by_their_kind():
    assert chip_of("TPU v5 lite") is CHIPS["v5e"] and chip_of("NVIDIA H100 80GB HBM3") is CHIPS["h100"]
    kinds = [kind for chip in CHIPS.values() for kind in chip.kinds]
    assert len(kinds) == len(set(kinds))
    assert chip_of("cpu") is None and peak_flops_of(jax.local_devices()) is None
    assert peak_flops_of(jax.local_devices()[:1], 2e12) == 2e12
