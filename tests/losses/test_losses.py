"""Losses against NumPy."""

import re
from itertools import groupby, product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.losses.cross_entropy import TokenLosses, chunked_token_losses, token_losses
from fac_jax.losses.ctc import ctc_losses
from fac_jax.losses.sft import load_balancing_loss, router_metrics
from fac_jax.types import IGNORE, RouterStats


def reference(logits: np.ndarray, labels: np.ndarray) -> tuple[float, int, int]:
    logits, labels = logits.reshape(-1, logits.shape[-1]).astype(np.float64), labels.reshape(-1)
    kept = labels != IGNORE
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    picked = log_probs[kept, labels[kept]]
    return -picked.sum(), int(kept.sum()), int((logits.argmax(-1) == labels)[kept].sum())


def labels_of(rng: np.random.Generator, shape: tuple[int, ...], size: int) -> np.ndarray:
    return np.where(rng.random(shape) < 0.4, IGNORE, rng.integers(0, size, shape)).astype(np.int32)


def summed(losses: TokenLosses) -> TokenLosses:
    return jax.tree.map(jnp.sum, losses)


def mean(losses: TokenLosses) -> jax.Array:
    sums = summed(losses)
    return sums.loss / sums.kept


def test_token_cross_entropy_is_numpys() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (2, 7, 11)).astype(np.float32), labels_of(rng, (2, 7), 11)
    sums = summed(token_losses(logits, labels))
    loss, count, correct = reference(logits, labels)
    assert (int(sums.kept), int(sums.correct)) == (count, correct)
    np.testing.assert_allclose(sums.loss, loss, rtol=1e-6)


@pytest.mark.parametrize("chunk", [1, 4, 5, 13, 64])
def test_chunks_change_neither_loss_nor_gradients(chunk: int) -> None:
    rng = np.random.default_rng(1)
    hidden = rng.normal(size=(3, 13, 8)).astype(np.float32)
    table, labels = rng.normal(size=(17, 8)).astype(np.float32), labels_of(rng, (3, 13), 17)

    def whole(h: jax.Array, t: jax.Array) -> jax.Array:
        return mean(token_losses(jnp.einsum("bsd,vd->bsv", h, t), labels))

    def chunked(h: jax.Array, t: jax.Array) -> jax.Array:
        return mean(chunked_token_losses(h, t, labels, chunk))

    loss, grads = jax.value_and_grad(whole, (0, 1))(hidden, table)
    same, same_grads = jax.jit(jax.value_and_grad(chunked, (0, 1)))(hidden, table)
    np.testing.assert_allclose(same, loss, rtol=1e-6)
    for ours, theirs in zip(same_grads, grads, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    sums = summed(chunked_token_losses(hidden, table, labels, chunk))
    assert (int(sums.kept), int(sums.correct)) == reference(np.einsum("bsd,vd->bsv", hidden, table), labels)[1:]


def test_logits_of_all_positions_are_never_held() -> None:
    """The gradient of a 150 k vocabulary fits where one row of full float32 logits would be 1.2 GB."""
    shapes = [jax.ShapeDtypeStruct(s, d) for s, d in [((1, 2048, 8), "bfloat16"), ((151936, 8), "bfloat16")]]
    labels = jax.ShapeDtypeStruct((1, 2048), "int32")
    grad = jax.grad(lambda h, t, y: jnp.sum(chunked_token_losses(h, t, y, 32).loss), (0, 1))
    memory = jax.jit(grad).lower(*shapes, labels).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 2048 * 151936 * 4 / 8


def test_gradients_of_bfloat16_states_are_multiplied_in_bfloat16_and_summed_in_float32() -> None:
    hidden, table = jnp.ones((2, 64, 8), jnp.bfloat16), jnp.ones((50, 8), jnp.float32)
    of = lambda h, t: jnp.sum(chunked_token_losses(h, t, jnp.ones((2, 64), jnp.int32), 16).loss)  # noqa: E731
    program = str(jax.make_jaxpr(jax.grad(of, (0, 1)))(hidden, table))
    products = re.findall(r":(\w+)\[[\d,]*\] = dot_general\[.*?\n *\] (\w+) (\w+)", program, re.DOTALL)
    kinds = dict(re.findall(r"(\w+):(\w+)\[[\d,]*\]", program))
    assert [(made, kinds[one], kinds[other]) for made, one, other in products] == [
        ("f32", "bf16", "bf16"),  # logits, forward and again
        ("f32", "bf16", "bf16"),
        ("f32", "bf16", "bf16"),  # of the table
        ("bf16", "bf16", "bf16"),  # of the states
    ]


@pytest.mark.parametrize("chunk", [2, 8])
def test_no_label_is_a_loss_of_zero_without_nan(chunk: int) -> None:
    labels = np.full((2, 6), IGNORE, np.int32)
    of = lambda h: jnp.sum(chunked_token_losses(h, jnp.ones((5, 4)), labels, chunk).loss)  # noqa: E731
    loss, grad = jax.value_and_grad(of)(jnp.ones((2, 6, 4)))
    assert loss == 0 and not np.any(np.asarray(grad))
    assert not np.any(chunked_token_losses(jnp.ones((2, 6, 4)), jnp.ones((5, 4)), labels, chunk).correct)


def test_bfloat16_states_get_float32_logits() -> None:
    rng = np.random.default_rng(2)
    hidden, table = rng.normal(size=(1, 4, 16)), rng.normal(size=(9, 16))
    hidden, table = jnp.asarray(hidden, jnp.bfloat16), jnp.asarray(table, jnp.bfloat16)
    labels = np.array([[1, 2, 3, 4]], np.int32)
    exact = np.einsum("bsd,vd->bsv", np.asarray(hidden, np.float64), np.asarray(table, np.float64))
    sums = summed(chunked_token_losses(hidden, table, labels, 2))
    assert sums.loss.dtype == jnp.float32
    np.testing.assert_allclose(sums.loss, reference(exact, labels)[0], rtol=1e-5)


def test_even_routing_costs_k_and_uneven_more() -> None:
    even = RouterStats(np.full(4, 10.0), np.full(4, 5.0), np.float32(20), entropy=np.float32(10))
    np.testing.assert_allclose(load_balancing_loss(even), 2.0)
    picks, probs = np.array([20.0, 10, 10, 0]), np.array([10.0, 5, 4, 1])
    uneven = load_balancing_loss(RouterStats(picks, probs, np.float32(20), np.float32(0)))
    np.testing.assert_allclose(uneven, 4 * np.sum(picks / 20 * probs / 20), rtol=1e-6)
    assert uneven > 2.0
    assert load_balancing_loss(RouterStats(np.zeros(4), np.zeros(4), np.float32(0), np.float32(0))) == 0


def test_router_metrics_are_those_of_counting_by_hand() -> None:
    stats = RouterStats(np.array([6.0, 2.0, 0.0, 0.0]), np.array([2.0, 1.0, 0.5, 0.5]), np.float32(4), np.float32(2))
    found = router_metrics(stats)
    assert found["router_load"] == 3.0 and found["router_idle"] == 0.5 and found["router_entropy"] == 0.5
    assert found["router_loss"] == load_balancing_loss(stats)


def paths_probability(log_probs: np.ndarray, target: tuple[int, ...], blank: int) -> float:
    """Sum over all alignments, by listing them."""
    total = 0.0
    for path in product(range(log_probs.shape[1]), repeat=len(log_probs)):
        if tuple(token for token, _ in groupby(path) if token != blank) == target:
            total += float(np.exp(log_probs[np.arange(len(path)), path].sum()))
    return total


def test_ctc_sums_over_all_alignments_and_closes_gaps() -> None:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(3, 5, 4)).astype(np.float32)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    tokens = np.array([[9, 2, 9, 2], [1, 9, 9, 3], [1, 2, 3, 1]], np.int32)
    kept = np.array([[0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 0, 0]], bool)
    frames = np.array([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [1, 1, 1, 1, 1]], bool)
    first = -np.log(paths_probability(log_probs[0], (2, 2), blank=0)) / 2
    second = -np.log(paths_probability(log_probs[1][frames[1]], (1, 3), blank=0)) / 2
    np.testing.assert_allclose(ctc_losses(logits, frames, tokens, kept, blank=0), [first, second, 0], rtol=1e-5)


def test_ctc_without_targets_is_zero_without_nan() -> None:
    logits, none = jnp.zeros((2, 3, 4)), np.zeros((2, 2), bool)
    loss, grad = jax.value_and_grad(
        lambda x: ctc_losses(x, np.ones((2, 3), bool), np.ones((2, 2), int), none, 0).sum()
    )(logits)
    assert loss == 0 and np.all(np.asarray(grad) == 0)
