"""Attention and experts by device and on a mesh, against their references."""

import importlib.util
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.attention import Visibility, einsum_attend, self_visibility
from fac_jax.layers.experts import ExpertKernels, sorted_experts
from fac_jax.parallel.attention import ShardedAttend, cudnn_attend
from fac_jax.parallel.experts import ShardedExperts
from fac_jax.parallel.kernels import training_kernels
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


@pytest.mark.parametrize("where", ON)
@pytest.mark.parametrize("kernel", ["splash", "einsum"])
def test_attention_equals_the_reference(kernel: str, where: str, figures) -> None:
    on = ON[where]
    if kernel == "einsum" and on is None:
        pytest.skip("the reference itself")
    attend = SplashAttend(on, interpret=True) if kernel == "splash" else ShardedAttend(on, einsum_attend)
    qkv, seen, kept = rows()
    (out, grads), (want, want_grads) = outputs(attend, qkv, seen, kept), outputs(einsum_attend, qkv, seen, kept)
    figures(f"{kernel} on {where}, max abs diff", diff(out, want), 5e-6)
    figures(f"{kernel} on {where}, gradients, max abs diff", diff(grads, want_grads), 5e-5)


def test_splash_refuses_what_it_cannot_do() -> None:
    (q, k, v), seen, _ = rows()
    with pytest.raises(InputError, match="splash attention is of a row on itself, not of 8 queries on 256 keys"):
        SplashAttend()(q[:, :8], k, v, seen)
    short = jax.tree.map(lambda a: a[:, :200], ((q, k, v), seen))
    with pytest.raises(InputError, match="takes a multiple of 128 positions on a device, not 200 / 1"):
        SplashAttend()(*short[0], short[1])
    with pytest.raises(InputError, match=r"splash attention, k: dimension 2 \(kv_heads\) .* tensor=8"):
        SplashAttend(make_layout({"tensor": 8}))(jnp.tile(q, (1, 1, 2, 1)), k, v, seen)


def test_flash_attention_is_refused_where_there_is_none() -> None:
    with pytest.raises(InputError, match='attention "flash" runs on a GPU or a TPU, not on a cpu; take "einsum"'):
        training_kernels(None, "flash")


def test_cudnn_takes_half_precision_alone_and_lowers_forward_and_backward() -> None:
    (q, k, v), seen, _ = rows()
    with pytest.raises(InputError, match="cuDNN attention takes bfloat16, not float32"):
        cudnn_attend(q, k, v, seen)
    half = tuple(array.astype(jnp.bfloat16) for array in (q, k, v))
    private = "jax._src.cudnn.fused_attention_stablehlo."
    with (  # jax asks the machine's cuDNN before it lowers for another machine
        mock.patch(private + "check_cudnn_version", lambda: 91_500),
        mock.patch(private + "check_compute_capability", lambda *_: True),
    ):
        traced = jax.jit(jax.grad(lambda x: jnp.sum(cudnn_attend(*x, seen).astype(jnp.float32)))).trace(half)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "__cudnn$fmhaScaleBiasSoftmax(" in text and "__cudnn$fmhaScaleBiasSoftmaxBackward(" in text


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
    ours = sorted_experts if sizes is None else ShardedExperts(make_layout(sizes), tokens=2)
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


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="needs the extra [tpu]")
def test_a_pod_that_is_not_there_compiles_both() -> None:
    """The ragged exchange and the splash kernel, which no CPU runs, through the TPU compiler."""
    from jax.experimental import topologies

    devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4").devices
    on = make_layout({"fsdp": 2, "expert": 2, "tensor": 2}, devices=devices)

    def like(array, names, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(array.shape, dtype, sharding=on.sharding(names, array.shape, "test"))

    rng = np.random.default_rng(0)
    x, picks, weights = rng.random((8, 256, 256)), rng.random((8, 256, 2)), rng.random((8, 256, 2))
    wide, tall = rng.random((8, 256, 128)), rng.random((8, 128, 256))
    grid, inward, outward = ("batch", "length", None), ("experts", "embed", "mlp"), ("experts", "mlp", "embed")
    kernels = ExpertKernels(like(wide, inward), like(wide, inward), like(tall, outward))
    arguments = (like(x, grid), like(picks, grid, jnp.int32), like(weights, grid, jnp.float32), kernels)
    compiled = jax.jit(jax.grad(lambda *a: jnp.sum(ShardedExperts(on)(*a).astype(jnp.float32)), allow_int=True))
    assert "ragged-all-to-all(" in compiled.lower(*arguments).compile().as_text()

    on = make_layout(MESH, devices=devices)
    q, k = rng.random((4, 512, 4, 128)), rng.random((4, 512, 2, 128))
    whole = ("batch", "length", "kv_heads", None)
    segments = like(q[..., 0, 0], ("batch", "length"), jnp.int32)

    def attended(q, k, v, segments):
        seen = self_visibility(segments, segments, causal=True)
        return jnp.sum(SplashAttend(on)(q, k, v, seen).astype(jnp.float32))

    arrays = (like(q, ("batch", "length", "heads", None)), like(k, whole), like(k, whole), segments)
    text = jax.jit(jax.grad(attended, argnums=(0, 1, 2))).lower(*arrays).compile().as_text()
    assert text.count("custom-call(") >= 3  # forward, and backward for queries and for keys
