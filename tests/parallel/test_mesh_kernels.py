"""Attention and experts by device and on a mesh, against their references."""

import dataclasses
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.interpreters import partial_eval

from fac_jax.layers.attention import Limits, Visibility, einsum_attend, self_visibility
from fac_jax.layers.moe import ExpertKernels, SortedExperts
from fac_jax.layers.stack import POLICIES
from fac_jax.parallel.attention import AutoAttend, ShardedAttend
from fac_jax.parallel.cudnn import PackedAttend, cudnn_attend
from fac_jax.parallel.experts import ShardedExperts
from fac_jax.parallel.kernels import attention_choice, kernel_name, training_kernels
from fac_jax.parallel.mesh import make_layout
from fac_jax.parallel.splash import SplashAttend
from fac_jax.types import InputError

ROWS, LENGTH, HEADS, KV_HEADS, HEAD_DIM = 2, 256, 4, 2, 32
MESH = {"fsdp": 2, "context": 2, "tensor": 2}
ON = {"one device": None, "fsdp, context, tensor": make_layout(MESH)}


def rows() -> tuple[tuple[jax.Array, ...], Visibility, jax.Array]:
    """q, k, v of two packed rows, what is visible, and which queries are no padding."""
    rng = np.random.default_rng(0)
    shape = {"q": HEADS, "k": KV_HEADS, "v": KV_HEADS}
    qkv = tuple(jnp.asarray(rng.standard_normal((ROWS, LENGTH, n, HEAD_DIM)), jnp.float32) for n in shape.values())
    segments = np.ones((ROWS, LENGTH), np.int32)
    segments[0, 100:], segments[1, 200:] = 2, 0
    positions = np.tile(np.arange(LENGTH, dtype=np.int32), (ROWS, 1))
    positions[0, 100:] -= 100
    seen = self_visibility(jnp.asarray(segments), jnp.asarray(positions), causal=True)
    return qkv, seen, jnp.asarray(segments > 0)[:, :, None, None]


def outputs(attend, qkv, seen: Visibility, kept: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Where there is no padding, and gradients of its sum of squares."""

    def loss(qkv: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        out = jnp.where(kept, attend(*qkv, seen), 0)
        return jnp.sum(out**2), out

    (_, out), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(qkv)
    return out, grads


def diff(a, b) -> float:
    return max(float(np.abs(x - y).max()) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


ATTENDS = {f"splash on {where}": SplashAttend(on, interpret=True) for where, on in ON.items()}
ATTENDS["einsum on a mesh"] = ShardedAttend(make_layout(MESH), einsum_attend)


@pytest.mark.parametrize("name", ATTENDS)
def test_attention_equals_the_reference(name: str, figures) -> None:
    attend = ATTENDS[name]
    qkv, seen, kept = rows()
    (out, grads), (want, want_grads) = outputs(attend, qkv, seen, kept), outputs(einsum_attend, qkv, seen, kept)
    figures(f"{name}, max abs diff", diff(out, want), 5e-6)
    figures(f"{name}, gradients, max abs diff", diff(grads, want_grads), 5e-5)


def test_splash_refuses_what_it_cannot_do() -> None:
    (q, k, v), seen, _ = rows()
    with pytest.raises(InputError, match="splash attention is of a row on itself, not of 8 queries on 256 keys"):
        SplashAttend()(q[:, :8], k, v, seen)
    short = jax.tree.map(lambda a: a[:, :200], ((q, k, v), seen))
    with pytest.raises(
        InputError,
        match="takes a multiple of 128 positions on a device, not 200 / 1: change seq_len",
    ):
        SplashAttend()(*short[0], short[1])
    for limits in ({"window": 100}, {"block": 10}):
        with pytest.raises(InputError, match="goes by places, .* or take attention"):
            SplashAttend()(q, k, v, dataclasses.replace(seen, **limits))
    with pytest.raises(InputError, match=r"splash attention, k: dimension 2 \(kv_heads\) .* tensor=8"):
        SplashAttend(make_layout({"tensor": 8}))(jnp.tile(q, (1, 1, 2, 1)), k, v, seen)


def test_flash_attention_is_refused_where_there_is_none() -> None:
    words = 'attention "flash": it runs on a GPU or a TPU, not on a cpu; take "auto" or "einsum"'
    with pytest.raises(InputError, match=words):
        training_kernels(None, "flash")


HEADS_OF = (16, 8, 128)  # of the released 8B
WINDOW = Limits(sinks=64, window=1024)


def test_auto_attention_is_flash_where_a_kernel_takes_the_rows_and_says_why_not() -> None:
    assert training_kernels(None, "auto") == training_kernels(None, "einsum")  # on a CPU
    kernel, reason = attention_choice(training_kernels(None, "auto").attend, HEADS_OF, "bfloat16", 2048)
    assert (kernel_name(kernel), reason) == ("blocked_attend", "not flash: it runs on a GPU or a TPU, not on a cpu")
    with mock.patch("jax.default_backend", lambda: "gpu"):
        attend = training_kernels(None, "auto").attend
        unknown = "the most conversations of a row are not known: set stages.NAME.data.segments"
        assert attention_choice(attend, HEADS_OF, "bfloat16", 2048) == (cudnn_attend, f"with a mask: {unknown}")
        old = training_kernels(None, "auto", segments=6).attend
        reason = attention_choice(old, HEADS_OF, "bfloat16", 2048)[1]
        assert reason == "with a mask: packed rows need a GPU of compute capability 9.0, not 0.0"
        alone = training_kernels(None, "flash", segments=1).attend
        assert attention_choice(alone, HEADS_OF, "bfloat16", 2048) == (PackedAttend(1), None)
        places = "it goes by places, which tell no window of 1024 positions with 64 sinks and no block of 1"
        choice = attention_choice(alone, HEADS_OF, "bfloat16", 2048, None, WINDOW)
        assert choice == (cudnn_attend, f"with a mask: {places}")
        assert attention_choice(alone, HEADS_OF, "bfloat16", 1024, None, WINDOW) == (PackedAttend(1), None)
        kernel, reason = attention_choice(attend, HEADS_OF, "float32", 2048)
        words = "not flash: cuDNN attention takes bfloat16, not float32: set model.dtype"
        assert kernel is einsum_attend and reason == words
        reason = attention_choice(training_kernels(None, "einsum").attend, HEADS_OF, "bfloat16", 2048)[1]
        assert reason == 'not flash: attention is "einsum"'
    for layout in (None, make_layout(MESH)):
        with mock.patch("fac_jax.parallel.kernels._platform", lambda _: "tpu"):
            attend = training_kernels(layout, "auto").attend
            assert attention_choice(attend, HEADS_OF, "bfloat16", 2048, layout)[0] == SplashAttend(layout)
            kernel, reason = attention_choice(attend, HEADS_OF, "bfloat16", 200, layout)
            assert kernel is einsum_attend and reason is not None and "takes a multiple of 128 positions" in reason
            kernel, reason = attention_choice(attend, HEADS_OF, "bfloat16", 2048, layout, WINDOW)
            assert (kernel, reason) == (einsum_attend, f"not flash: {places}")


def test_auto_attention_computes_what_its_choice_does() -> None:
    qkv, seen, kept = rows()
    splash = SplashAttend(interpret=True)
    attend = AutoAttend(splash, einsum_attend, splash.refusal)
    assert diff(outputs(attend, qkv, seen, kept), outputs(splash, qkv, seen, kept)) == 0
    narrow = dataclasses.replace(seen, sinks=3, window=9)
    assert diff(outputs(attend, qkv, narrow, kept), outputs(einsum_attend, qkv, narrow, kept)) == 0
    qkv, seen, kept = jax.tree.map(lambda a: a[:, :200], (qkv, seen, kept))  # no multiple of 128
    assert diff(outputs(attend, qkv, seen, kept), outputs(einsum_attend, qkv, seen, kept)) == 0


@pytest.mark.parametrize("where", ON)
def test_splash_keeps_what_its_backward_pass_needs(where: str) -> None:
    """Calls of the kernel in a gradient: one forward and two backward, and one forward again if nothing is stored."""
    qkv, seen, _ = rows()
    attend = SplashAttend(ON[where], interpret=True)

    def calls(policy: Any) -> int:
        again = jax.checkpoint(lambda q, k, v: attend(q, k, v, seen), policy=policy)
        traced = jax.make_jaxpr(jax.value_and_grad(lambda qkv: jnp.sum(again(*qkv) ** 2)))(qkv).jaxpr
        needed, _ = partial_eval.dce_jaxpr(traced, [True] * len(traced.outvars))
        return str(needed).count("pallas_call[")

    stored = {name: calls(POLICIES[name]) for name in ("full", "save_attention")}
    assert stored == {"full": 4, "save_attention": 3}


EXPERTS, TOP_K, WIDTH, HIDDEN = 8, 3, 16, 12


def experts_inputs(skewed: bool) -> tuple[jax.Array, jax.Array, jax.Array, ExpertKernels]:
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.standard_normal((8, 6, WIDTH)), jnp.float32)
    logits = rng.standard_normal((8, 6, EXPERTS)) + (10 * (np.arange(EXPERTS) < TOP_K) if skewed else 0)
    weights, picks = jax.lax.top_k(jax.nn.softmax(jnp.asarray(logits, jnp.float32)), TOP_K)
    shapes = ((EXPERTS, WIDTH, HIDDEN), (EXPERTS, WIDTH, HIDDEN), (EXPERTS, HIDDEN, WIDTH))
    return x, picks, weights, ExpertKernels(*(jnp.asarray(rng.standard_normal(s), jnp.float32) for s in shapes))


def every_expert(x: jax.Array, picks: jax.Array, weights: jax.Array, kernels: ExpertKernels) -> jax.Array:
    """The dense reference: every token through every expert, weighed."""
    hidden = jax.nn.silu(jnp.einsum("btd,edf->btef", x, kernels.gate)) * jnp.einsum("btd,edf->btef", x, kernels.up)
    out = jnp.einsum("btef,efd->bted", hidden, kernels.down)
    shares = jnp.sum(jax.nn.one_hot(picks, EXPERTS) * weights[..., None], axis=2)
    return jnp.einsum("bted,bte->btd", out, shares)


EXPERT_MESHES = {
    "one device": None,
    "8 shards of rows": {"fsdp": 8},
    "8 groups of experts": {"expert": 8},
    "fsdp, expert, tensor": {"fsdp": 2, "expert": 2, "tensor": 2},
    "expert, context": {"expert": 4, "context": 2},
}


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("where", EXPERT_MESHES)
def test_experts_equal_the_dense_reference(where: str, skewed: bool, figures) -> None:
    """Also when all tokens want the same experts: none is dropped."""
    sizes = EXPERT_MESHES[where]
    # Two tokens are exchanged at once, so that a device goes several rounds.
    ours = SortedExperts() if sizes is None else ShardedExperts(make_layout(sizes), tokens=2)
    x, picks, weights, kernels = experts_inputs(skewed)

    def both(experts):
        def loss(x, weights, kernels):
            out = experts(x, picks, weights, kernels)
            return jnp.sum(out**2), out

        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(x, weights, kernels)

    (_, out), grads = both(ours)
    (_, want), want_grads = both(every_expert)
    name = f"experts, {where}{', skewed' if skewed else ''}: "
    scale = [float(np.abs(leaf).max()) for leaf in jax.tree.leaves(want_grads)]
    figures(name + "max rel diff", diff(out, want) / float(np.abs(want).max()), 1e-5)
    worst = max(
        float(np.abs(a - b).max()) / s
        for a, b, s in zip(jax.tree.leaves(grads), jax.tree.leaves(want_grads), scale, strict=True)
    )
    figures(name + "gradients, max rel diff", worst, 1e-5)
