"""What one NVIDIA GPU runs otherwise than a CPU; `make test-gpu` runs it, and the parity tests on the GPU."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grouped_cases import SIZES, worst
from initial import initial_params

from experiments.benchmarks.workloads import Conversation, packed_batch
from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.losses import Sft
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.presets import preset
from fac_jax.parallel.attention import AutoAttend
from fac_jax.parallel.cudnn import PackedAttend, cached_attend, cudnn_attend
from fac_jax.parallel.kernels import decoding_kernels, training_kernels
from fac_jax.training.step import bind


def _made(lengths, heads, head_dim, causal):
    """Bfloat16 queries, keys, values of rows whose segments have these lengths; padding is behind them."""
    rng = np.random.default_rng(0)
    shape = (len(lengths), max(map(sum, lengths)))
    q = rng.standard_normal((*shape, heads[0], head_dim))
    k, v = rng.standard_normal((2, *shape, heads[1], head_dim))
    segments, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for row, sizes in enumerate(lengths):
        segments[row, : sum(sizes)] = np.repeat(np.arange(1, len(sizes) + 1), sizes)
        positions[row, : sum(sizes)] = np.concatenate([np.arange(size) for size in sizes])
    seen = Visibility(segments, segments, positions, positions, causal)
    return tuple(jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)), jax.tree.map(jnp.asarray, seen)


@pytest.fixture(scope="module")
def rows():
    """Rows of one to three segments; padding, which nobody may see, is behind the last ones of two of them."""
    return _made([(100, 230, 182), (300, 12), (480,)], (8, 2), 128, causal=True)


def _apart(ours, exact):
    return np.linalg.norm(ours - exact) / np.linalg.norm(exact)


def _outputs(attend, rows, dtype):
    """The real positions of an attention, and the gradients of their squares, in float64."""
    qkv, seen = rows
    real = (seen.q_segments > 0)[..., None, None]

    def loss(qkv):
        out = jnp.where(real, attend(*qkv, seen).astype(jnp.float32), 0)
        return (out**2).sum(), out

    with jax.default_matmul_precision("highest"):
        grads, out = jax.jit(jax.grad(loss, has_aux=True))(tuple(x.astype(dtype) for x in qkv))
    return [np.asarray(x, np.float64) for x in (out, *grads)]


KINDS = {"mask": cudnn_attend, "packed": PackedAttend(3), "packed with room": PackedAttend(8)}


@pytest.mark.parametrize("kind", KINDS)
def test_cudnn_attention_in_bfloat16_is_near_to_float32(rows, kind, figures):
    """Of up to three conversations a row, where up to eight may be as well."""
    _compare(KINDS[kind], rows, f"cuDNN, {kind}", figures)


@pytest.mark.parametrize(("lengths", "causal"), [([(512,), (300,)], True), ([(100,), (37,), (1,)], False)])
def test_one_sequence_a_row_needs_no_places(lengths, causal, figures):
    """A conversation a row, and windows of the audio encoder."""
    what = "conversations" if causal else "windows"
    _compare(PackedAttend(1), _made(lengths, (8, 8), 64, causal), f"cuDNN, {what}", figures)


def _compare(attend, rows, name, figures):
    exact = _outputs(einsum_attend, rows, jnp.float32)
    einsum, cudnn = (_outputs(kernel, rows, jnp.bfloat16) for kernel in (einsum_attend, attend))
    for what, ours, plain, wanted in zip(("output", "dq", "dk", "dv"), cudnn, einsum, exact, strict=True):
        beside = f"relative (the einsum: {_apart(plain, wanted):.1e})"
        figures(f"{name}, against float32, {what}, {beside}", _apart(ours, wanted), 1e-2)


def test_both_attentions_give_a_training_step_the_same_loss_and_gradients(figures):
    config = dataclasses.replace(preset("tiny"), dtype="bfloat16", context=512)
    params = initial_params(config)
    batch = jax.device_put(packed_batch(config, 2, 3, Conversation(12, 20, 30)))

    def gradients(dtype, attention):
        model = FunAudioChat(dataclasses.replace(config, dtype=dtype), training_kernels(attention=attention))
        objective = bind(Sft(), model)

        def loss(params):
            return objective.loss(params, batch, objective.counts(batch), None)[0]

        with jax.default_matmul_precision("highest"):
            value, grads = jax.jit(jax.value_and_grad(loss))(params)
        return float(value), np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(grads)])

    value, exact = gradients("float32", "einsum")
    for attention in ("einsum", "flash"):
        loss, grads = gradients("bfloat16", attention)
        figures(f"{attention}, bfloat16: loss against float32, relative", abs(loss / value - 1), 5e-3)
        figures(f"{attention}, bfloat16: gradients, relative", _apart(grads, exact), 5e-2)


@pytest.mark.parametrize("heads", [(8, 2, 128), (4, 4, 64)])
def test_one_position_on_a_cache_equals_the_reference(heads, figures):
    """The places behind a row's own position hold what the kernel must not read."""
    queries, keys, head_dim = heads
    rng, positions, length = np.random.default_rng(1), np.array([[0], [17], [255], [130]]), 256
    q = rng.standard_normal((4, 1, queries, head_dim))
    k, v = rng.standard_normal((2, 4, length, keys, head_dim))
    k[np.arange(length) > positions] = v[np.arange(length) > positions] = 1e4
    places = np.broadcast_to(np.arange(length), (4, length))
    seen = jax.tree.map(jnp.asarray, Visibility(np.ones((4, 1), int), np.ones((4, length), int), positions, places))
    attend = decoding_kernels().attend
    assert (
        isinstance(attend, AutoAttend)
        and attend.chosen(*(jnp.asarray(x, jnp.bfloat16) for x in (q, k))) is cached_attend
    )
    with jax.default_matmul_precision("highest"):
        exact = jax.jit(einsum_attend)(*(jnp.asarray(x, jnp.float32) for x in (q, k, v)), seen)
        ours = jax.jit(attend)(*(jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)), seen)
    figures(f"cuDNN on a cache, head dim {head_dim}, relative", _apart(np.float64(ours), np.float64(exact)), 1e-2)


@pytest.mark.parametrize("case", SIZES)
def test_the_grouped_product_of_experts_equals_the_reference(case, figures):
    """On a Hopper GPU its own kernels; elsewhere the reference itself."""
    for name, difference in worst(training_kernels().experts.product, SIZES[case]).items():
        figures(f"grouped product, {case}, {name}: max rel diff", difference, 1e-2)
