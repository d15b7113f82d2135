"""What one NVIDIA GPU runs otherwise than a CPU; `make test-gpu` runs it, and the parity tests on the GPU."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks.workloads import Conversation, packed_batch
from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.losses import Sft
from fac_jax.models.fun_audio_chat import FunAudioChat, init_params
from fac_jax.models.presets import preset
from fac_jax.parallel.cudnn import PackedAttend, cudnn_attend
from fac_jax.parallel.kernels import training_kernels
from fac_jax.training.step import bind

ROWS, LENGTH, HEADS, KV_HEADS, HEAD_DIM = 2, 512, 8, 2, 128


@pytest.fixture(scope="module")
def rows():
    """Bfloat16 queries, keys, values: three segments in a row, and padding behind them that nobody may see."""
    rng = np.random.default_rng(0)
    q = rng.standard_normal((ROWS, LENGTH, HEADS, HEAD_DIM))
    k, v = rng.standard_normal((2, ROWS, LENGTH, KV_HEADS, HEAD_DIM))
    segments = np.repeat([1, 2, 3, 0], [100, 230, 150, 32])[None].repeat(ROWS, axis=0).astype(np.int32)
    positions = np.concatenate([np.arange(n) for n in (100, 230, 150, 32)])[None].repeat(ROWS, axis=0).astype(np.int32)
    seen = Visibility(segments, segments, positions, positions)
    return tuple(jnp.asarray(x, jnp.bfloat16) for x in (q, k, v)), jax.tree.map(jnp.asarray, seen)


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
    """Of three conversations a row, where up to eight may be as well."""
    exact = _outputs(einsum_attend, rows, jnp.float32)
    names = ("output", "dq", "dk", "dv")
    einsum, cudnn = (_outputs(kernel, rows, jnp.bfloat16) for kernel in (einsum_attend, KINDS[kind]))
    for name, ours, plain, wanted in zip(names, cudnn, einsum, exact, strict=True):
        beside = f"relative (the einsum: {_apart(plain, wanted):.1e})"
        figures(f"cuDNN, {kind}, against float32, {name}, {beside}", _apart(ours, wanted), 1e-2)


def test_both_attentions_give_a_training_step_the_same_loss_and_gradients(figures):
    config = dataclasses.replace(preset("tiny"), dtype="bfloat16", context=512)
    params = jax.jit(lambda: init_params(config, jax.random.key(0)))()
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
