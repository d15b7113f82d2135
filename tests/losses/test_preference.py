"""Preference optimisation: a NumPy formula and its gradients, algebra, both streams of a real model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_model import golden

from fac_jax.evaluation.parity.model import training_batch
from fac_jax.losses import Preference, Sft
from fac_jax.losses.log_probs import ReplyLogProbs, reply_log_probs
from fac_jax.losses.preference import PreferenceObjective, preference_loss
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import IGNORE, NO_TASK, REPLAY, PreferenceBatch
from fac_jax.types import PREFERENCE_TASKS as TASKS

KINDS: tuple[PreferenceObjective, ...] = ("sigmoid", "ipo", "hinge")
CHUNK = 16


def numpy_loss(h: np.ndarray, kind: str, beta: float, smoothing: float) -> np.ndarray:
    def one(margin: np.ndarray) -> np.ndarray:
        if kind == "sigmoid":
            return np.log1p(np.exp(-beta * margin))
        if kind == "ipo":
            return (margin - 0.5 / beta) ** 2
        return np.maximum(0, 1 - beta * margin)

    return (1 - smoothing) * one(h) + smoothing * one(-h)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("kind", KINDS)
def test_losses_and_gradients_are_numpys(kind: PreferenceObjective, smoothing: float) -> None:
    h, beta, step = np.random.default_rng(0).normal(0, 4, 9), 0.3, 1e-5
    loss = preference_loss(h, kind, beta, smoothing)
    np.testing.assert_allclose(loss, numpy_loss(h, kind, beta, smoothing), rtol=1e-5)
    slope = jax.grad(lambda x: preference_loss(x, kind, beta, smoothing).sum())(jnp.asarray(h, jnp.float32))
    expected = numpy_loss(h + step, kind, beta, smoothing) - numpy_loss(h - step, kind, beta, smoothing)
    np.testing.assert_allclose(slope, expected / (2 * step), rtol=1e-4, atol=1e-6)


def test_a_vanishing_beta_prefers_nothing() -> None:
    h = jnp.array([-30.0, 0.0, 30.0])
    np.testing.assert_allclose(preference_loss(h, "sigmoid", 1e-9), np.log(2), rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: preference_loss(x, "sigmoid", 1e-9).sum())(h), 0, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_swapped_replies_are_a_wrong_label(kind: PreferenceObjective) -> None:
    h = jnp.array([-2.0, 0.5, 3.0])
    np.testing.assert_allclose(preference_loss(-h, kind, 0.5), preference_loss(h, kind, 0.5, label_smoothing=1.0))


def replies(rng: np.random.Generator, pairs: int) -> tuple[ReplyLogProbs, np.ndarray, np.ndarray]:
    shape = (2 * pairs, 2, 2)
    total, reference = (-rng.uniform(1, 20, shape).astype(np.float32) for _ in range(2))
    tasks = rng.integers(REPLAY, len(TASKS), (pairs, 2)).astype(np.int32)
    return ReplyLogProbs(total=total, tokens=np.full(shape, 5, np.float32)), reference, tasks


def test_streams_tasks_and_anchors_have_their_weights() -> None:
    found, reference, tasks = replies(np.random.default_rng(1), 8)
    config = Preference("ipo", 0.5, 0.1, 1.0, 0.25, 0.7, 0.3, {"empathy": 2.0})
    counts = {name: (tasks == number).sum() for number, name in enumerate(TASKS)}
    pairs, there = tasks >= 0, tasks != NO_TASK
    assert {NO_TASK, REPLAY} < set(tasks.flat)
    counts |= {"pairs": pairs.sum(), "text": 5 * there.sum(), "speech": 5 * there.sum()}
    loss, metrics = config.pair_loss(found, reference, tasks, {name: jnp.float32(n) for name, n in counts.items()})
    gain = (found.total - reference) @ np.array([1.0, 0.25])
    h = gain[0::2] - gain[1::2]
    each = numpy_loss(h, "ipo", 0.5, 0.1) * np.where(tasks == TASKS.index("empathy"), 2.0, 1.0)
    nats = -found.total[0::2][there].sum(axis=0) / (5 * there.sum())
    np.testing.assert_allclose(loss, each[pairs].mean() + 0.7 * nats[0] + 0.3 * nats[1], rtol=1e-5)
    for number, name in enumerate(TASKS):
        mine = tasks == number
        np.testing.assert_allclose(metrics[f"{name}/accuracy"], (h[mine] > 0).mean(), rtol=1e-6)
        np.testing.assert_allclose(metrics[f"{name}/margin"], 0.5 * h[mine].mean(), rtol=1e-4)


def pairs_of(case: str, other: bool) -> PreferenceBatch:
    """The recorded batch as chosen replies; as rejected ones the same, or with other last labels."""
    batch, config = training_batch(golden(case).arrays, golden(case).config)
    batch = jax.tree.map(np.asarray, batch)
    rejected = batch
    if other:
        turned = np.where(batch.labels == IGNORE, IGNORE, (batch.labels + 1) % 100)
        rejected = batch.replace(labels=turned)
    # Both replies of a pair share their windows: the second one's frames are the first one's.
    both = jax.tree.map(lambda a, b: np.stack([a, b], axis=1).reshape(-1, *a.shape[1:]), batch, rejected)
    both = both.replace(mel_windows=batch.mel_windows, mel_lengths=batch.mel_lengths)
    rows = batch.labels.shape[0]
    tasks = np.arange(rows, dtype=np.int32)[:, None] % len(TASKS)
    return PreferenceBatch(batch=both, tasks=tasks, reference=np.zeros((2 * rows, 1, 2), np.float32))


def test_sums_of_log_probabilities_are_the_losses_of_training() -> None:
    g = golden("dense")
    batch, config = training_batch(g.arrays, g.config)
    model = FunAudioChat(config)
    found = jax.jit(lambda p: reply_log_probs(model, p, batch, 1, CHUNK))(g.params)
    _, metrics = jax.jit(lambda p: Sft(chunk=CHUNK)(model, p, batch))(g.params)
    mean = -found.total.sum(axis=(0, 1)) / found.tokens.sum(axis=(0, 1))
    np.testing.assert_allclose(mean, [metrics["text_loss"], metrics["speech_loss"]], rtol=1e-5)


@pytest.mark.parametrize("reference", [pytest.param("stored", marks=pytest.mark.slow), "frozen"])
def test_identical_replies_move_nothing(reference: str) -> None:
    pairs = pairs_of("dense", other=False)
    g = golden("dense")
    model, config = FunAudioChat(g.config), Preference(chunk=CHUNK)
    frozen = g.params if reference == "frozen" else None

    def loss(params):
        return config(model, params, pairs, reference=frozen)[0]

    value, grads = jax.jit(jax.value_and_grad(loss))(g.params)
    np.testing.assert_allclose(value, np.log(2), rtol=1e-5)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(grads)) < 1e-4


def test_a_stored_reference_equals_a_frozen_one() -> None:
    pairs = pairs_of("dense", other=True)
    g = golden("dense")
    model, config = FunAudioChat(g.config), Preference(beta=0.3, speech_anchor=1.0, chunk=CHUNK)
    policy = jax.tree.map(lambda leaf: leaf * 1.02, g.params)

    @jax.jit
    def both(policy, frozen):
        stored = pairs.replace(reference=reply_log_probs(model, frozen, pairs.batch, 1, CHUNK).total)
        ours = config(model, policy, stored)
        return ours, config(model, policy, pairs, reference=frozen)

    stored, frozen = both(policy, g.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), stored, frozen)


def test_without_the_speech_stream_the_head_is_not_run() -> None:
    pairs = pairs_of("dense", other=True)
    g = golden("dense")
    config = Preference(speech_weight=0.0, chunk=CHUNK)
    model = FunAudioChat(g.config)
    grads = jax.jit(jax.grad(lambda p: config(model, p, pairs)[0]))(g.params)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["refined_head"]))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(grads["backbone"]))
    assert dataclasses.replace(config, speech_anchor=1.0).speaks
