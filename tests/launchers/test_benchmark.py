"""The benchmark's counts by hand, and its launcher on a model of a few thousand parameters; no time is asserted."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from initial import initial_params
from launchers import imported, launched
from toy_training import MODEL

from experiments.benchmarks import workloads
from experiments.benchmarks.codec import Speaking
from experiments.benchmarks.decode import endless, step_bytes
from experiments.benchmarks.measure import best
from experiments.benchmarks.tables import table
from experiments.benchmarks.train import step_parts
from fac_jax.generation.prepared import prepare
from fac_jax.models.config import replace
from fac_jax.models.presets import PRESETS
from fac_jax.types import InputError, Kind


def _decoder(width: int, depth: int, mlp: int, heads: int, kv_heads: int, head_dim: int) -> int:
    """Parameters of a Qwen3 decoder, final norm included."""
    attention = width * head_dim * (2 * heads + 2 * kv_heads) + 2 * head_dim
    return depth * (attention + 3 * width * mlp + 2 * width) + width


@pytest.mark.parametrize("tied", [True, False])
def test_step_bytes(tied):
    config = replace(MODEL, tie_embeddings=tied)
    model, params = prepare(config, initial_params(config))
    text, head, group = 32, 16, 5
    once = _decoder(text, 2, 48, 2, 1, 16)
    once += 40 * text  # text head
    once += text * text  # map of a spoken group to LLM width
    once += text * group * text + group * text  # opening of an LLM state, with its bias
    each = _decoder(head, 1, 32, 2, 1, 8) + 2 * text * head + 20 * text  # ins and outs of the head, speech head
    assert step_bytes(model, params) == 4 * (once + group * each)


def test_packed_batch_is_full_and_every_clip_reads_its_own_frames():
    rows, packed, one = 2, 3, workloads.Conversation(text=4, heard=5, spoken=6)
    batch = workloads.packed_batch(MODEL, rows, packed, one)
    assert batch.kind.shape == (rows, packed * 15)
    assert [int(np.sum(batch.kind == kind)) for kind in (Kind.TEXT, Kind.SPEECH, Kind.JOINT)] == [24, 30, 36]
    assert np.array_equal(np.unique(batch.segment_ids), [1, 2, 3]) and batch.positions.max() == 14
    frames = batch.frame_index[batch.kind == Kind.SPEECH].reshape(rows * packed, -1)
    windows = frames // MODEL.audio.frames
    assert len(np.unique(frames)) == frames.size and len(np.unique(windows)) == len(batch.mel_windows)
    assert all(len(set(a) & set(b)) == 0 for a, b in zip(windows[:-1], windows[1:], strict=True))


def test_endless_models_cannot_pick_an_end():
    config = endless(MODEL)
    assert config.special.eos not in range(config.vocab_size) and config.units == MODEL.units


@pytest.mark.slow
def test_figures_of_a_tiny_model(monkeypatch):
    monkeypatch.setitem(PRESETS, "micro", MODEL)
    work = workloads.Workload(2, 2, workloads.Conversation(3, 2, 4), updates=1, batches=(2,), steps=3, responses=1)
    filled = workloads.Utilisation(rows=2, packed=1, conversation=work.conversation, moments="bfloat16")
    monkeypatch.setitem(workloads.WORKLOADS, "micro", dataclasses.replace(work, utilisation=filled))
    with imported("experiments.benchmark") as launcher:
        measures = ["train", "utilisation", "grouping", "decode", "calls"]
        figures: dict[str, dict[str, Any]] = {name: {} for name in measures}
        for kind, (label, values) in launcher.measured(launcher.Asked(["micro"], measures, batches=[2])):
            figures[kind][label] = values
    (trained,), (decoded,) = figures["train"].values(), figures["decode"].values()
    ((name, used),) = figures["utilisation"].items()  # a CPU has no flash attention
    assert np.isfinite([*trained.values(), *used.values(), *decoded.values()]).all() and name.endswith("einsum")
    needed = sum(step_parts(MODEL, workloads.packed_batch(MODEL, 2, 1, work.conversation)).values())
    assert used["needed TFLOP/s"] * used["seconds a step"] * 1e12 == pytest.approx(needed)
    assert used["LLM positions/s"] * used["seconds a step"] == pytest.approx(18)
    assert trained["audio seconds/s"] == pytest.approx(trained["steps/s"] * 24 * 0.2)  # 24 groups of 200 ms
    assert trained["LLM positions/s"] == pytest.approx(trained["steps/s"] * 36)
    *_, grouped = figures["grouping"].values()
    assert trained["GFLOP/s"] > 0 and 0 < grouped["backbone FLOPs / k=1"] < grouped["FLOPs / k=1"] < 1
    assert grouped["time / k=1"] > 0
    assert decoded["speech tokens/s"] == pytest.approx(decoded["LLM steps/s"] * 2 * 5)
    assert decoded["times real time"] == pytest.approx(decoded["LLM steps/s"] * 0.2)
    assert decoded["share of bound"] == pytest.approx(decoded["LLM steps/s"] / decoded["bound, LLM steps/s"])
    assert len(figures["calls"]) == 4  # two streams, with and without speech
    assert all(0 < one["tick p50, ms"] <= one["tick p99, ms"] for one in figures["calls"].values())
    json.dumps(figures)


def test_table():
    rows = {"one": {"steps/s": 123.4, "share of bound": 0.618, "bytes": 3 * 2**20}, "two": {"steps/s": 0.01234}}
    rows["two"] |= {"share of bound": 1.0, "bytes": 0}
    assert list(table("what", rows)) == [
        "| what | steps/s | share of bound | MiB |",
        "|---|---:|---:|---:|",
        "| one | 123 | 62% | 3 |",
        "| two | 0.0123 | 100% | 0 |",
    ]


def test_best_ignores_the_first_run():
    calls = []
    best(lambda: calls.append(None) or np.zeros(1), 3)
    assert len(calls) == 4


@pytest.mark.parametrize(
    ("presets", "measure", "parts", "option"),
    [
        (["tiny", "vast"], ["train"], ["stream"], "--presets=vast"),
        (["tiny"], ["speed"], ["stream"], "--measure=speed"),
        (["tiny"], ["codec"], ["mouth"], "--parts=mouth"),
    ],
)
def test_unknown_names_are_refused_before_anything_is_measured(presets, measure, parts, option):
    with imported("experiments.benchmark") as launcher, pytest.raises(InputError, match=option):
        launcher.Asked(presets, measure, speaking=Speaking(parts=parts)).check()


def test_exit_code_of_an_unknown_preset():
    result = launched("experiments.benchmark", "--presets=tiny,vast")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "--presets=vast: known are tiny, base, 8b" in result.stderr
