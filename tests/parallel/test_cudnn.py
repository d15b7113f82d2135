"""cuDNN's attention: what goes into the kernel, and what comes out of it, where there is no GPU.

`tests/gpu/one_gpu.py` runs the kernel itself.
"""

import re
from collections.abc import Iterator
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.attention import Attend, Visibility, einsum_attend, self_visibility
from fac_jax.parallel import cudnn
from fac_jax.parallel.cudnn import PackedAttend, cached_attend, cached_refusal, conversation_lengths, cudnn_attend
from fac_jax.types import InputError

ROWS, LENGTH, HEADS, KV_HEADS, HEAD_DIM, MOST = 3, 24, 4, 2, 8, 5


def packed_rows(seed: int, most: int, causal: bool) -> tuple[tuple[jax.Array, ...], Visibility]:
    """Random rows of 0 to `most` conversations, with padding behind them."""
    rng = np.random.default_rng(seed)
    segments = np.zeros((ROWS, LENGTH), np.int32)
    positions = np.zeros((ROWS, LENGTH), np.int32)
    for row in range(ROWS):
        at = 0
        for number in range(1, rng.integers(0, most + 1) + 1):
            size = min(int(rng.integers(1, LENGTH // 2)), LENGTH - at)
            segments[row, at : at + size] = number
            positions[row, at : at + size] = np.arange(size)
            at += size
    q = rng.standard_normal((ROWS, LENGTH, HEADS, HEAD_DIM))
    k, v = rng.standard_normal((2, ROWS, LENGTH, KV_HEADS, HEAD_DIM))
    seen = self_visibility(jnp.asarray(segments), jnp.asarray(positions), causal=causal)
    return tuple(jnp.asarray(array, jnp.float32) for array in (q, k, v)), seen


def as_the_kernel(
    q, k, v, bias=None, mask=None, q_seqlen=None, kv_seqlen=None, q_offsets=None, kv_offsets=None, *, scale, mask_type
):
    """Attention by lengths and places, which jax makes of what it gets as it does for cuDNN.

    All rows are one line of positions. What is in none of the sequences is left as it was found, here NaN.
    """
    kinds = cudnn.fused.MaskType
    assert scale == HEAD_DIM**-0.5 and bias is mask is None
    line = ROWS * LENGTH
    place = jnp.broadcast_to(jnp.arange(LENGTH), (ROWS, LENGTH))
    if mask_type == kinds.CAUSAL:
        assert q_seqlen is kv_seqlen is q_offsets is kv_offsets is None
        sequence = keys = jnp.ones((ROWS, LENGTH), jnp.int32)
    elif q_offsets is None:  # a sequence a row
        sequence, keys = ((place < size[:, None]).astype(jnp.int32) for size in (q_seqlen, kv_seqlen))
    else:
        assert q_seqlen is kv_seqlen and q_offsets is kv_offsets
        lengths, _, begins, _ = cudnn.fused._fix_seqlen_offsets(q_seqlen, kv_seqlen, q_offsets, kv_offsets, q, k)
        lengths, begins = lengths.ravel(), begins.ravel()[: lengths.size] // (HEADS * HEAD_DIM)
        at = jnp.arange(line)[:, None]
        inside = (at >= begins) & (at < begins + lengths)
        sequence = keys = jnp.max(inside * jnp.arange(1, lengths.size + 1), axis=1).reshape(ROWS, LENGTH)
    seen = Visibility(sequence, keys, place, place, mask_type in (kinds.CAUSAL, kinds.PADDING_CAUSAL))
    kept = (sequence > 0)[..., None, None]

    @jax.custom_vjp
    def attend(q, k, v):
        return jnp.where(kept, einsum_attend(q, k, v, seen), jnp.nan)

    def forward(q, k, v):
        return attend(q, k, v), (q, k, v)

    def backward(inputs, grads):
        back = jax.vjp(lambda *qkv: einsum_attend(*qkv, seen), *inputs)[1](grads)
        return tuple(jnp.where(kept, one, jnp.nan) for one in back)

    attend.defvjp(forward, backward)
    return attend(q, k, v)


@pytest.fixture
def kernel() -> Iterator[None]:
    with (
        mock.patch.object(cudnn.fused, "dot_product_attention", as_the_kernel),
        mock.patch.object(cudnn, "cudnn_refusal", lambda q, k: None),  # float32 here
    ):
        yield


def outputs(attend: Attend, qkv: tuple[jax.Array, ...], seen: Visibility) -> tuple[jax.Array, ...]:
    """The real positions of an attention, and its gradients."""
    kept = (seen.q_segments > 0)[..., None, None]

    def loss(qkv):
        out = jnp.where(kept, attend(*qkv, seen), 0)
        return jnp.sum(jnp.sin(out)), out

    grads, out = jax.grad(loss, has_aux=True)(qkv)
    return out, *grads


def test_lengths_and_places_of_the_conversations_of_a_row() -> None:
    segments = np.array([[1, 1, 1, 2, 2, 0], [1, 2, 3, 3, 3, 3], [0, 0, 0, 0, 0, 0]])
    lengths, offsets = conversation_lengths(segments, 3)
    assert lengths.tolist() == [[3, 2, 1, -1], [1, 1, 4, -1], [6, -1, -1, -1]]
    assert offsets.tolist() == [[0, 3, 5, -1, -1], [0, 1, 2, -1, -1], [0, -1, -1, -1, -1]]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("most", "causal"), [(1, True), (MOST, True), (1, False), (MOST, False)])
def test_packed_attention_is_that_of_the_reference(kernel: None, most: int, causal: bool, seed: int) -> None:
    qkv, seen = packed_rows(seed, most, causal)
    ours, theirs = (outputs(attend, qkv, seen) for attend in (PackedAttend(most), einsum_attend))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_packed_attention_is_of_rows_on_themselves() -> None:
    q, k = (jax.ShapeDtypeStruct((ROWS, length, HEADS, HEAD_DIM), jnp.bfloat16) for length in (LENGTH, 2 * LENGTH))
    assert PackedAttend(MOST).refusal(q, q) is None
    assert "of a row on itself, not of 24 queries on 48 keys" in str(PackedAttend(MOST).refusal(q, k))


def test_one_position_on_a_cache_reads_the_places_up_to_its_own() -> None:
    def as_the_kernel(q, k, v, bias, mask, q_seqlen, kv_seqlen, *, scale, mask_type, qkv_layout):
        assert bias is mask is None and mask_type == cudnn.fused.MaskType.PADDING and qkv_layout == "BNTH"
        assert q.shape == (ROWS, HEADS, 1, HEAD_DIM) and k.shape == (ROWS, KV_HEADS, LENGTH, HEAD_DIM)
        assert scale == HEAD_DIM**-0.5 and q_seqlen.tolist() == [1] * ROWS
        out = []
        for row, length in enumerate(kv_seqlen.tolist()):
            q1, k1, v1 = (jnp.swapaxes(x[row : row + 1], 1, 2) for x in (q, k[:, :, :length], v[:, :, :length]))
            places = jnp.arange(length)[None]
            seen = Visibility(jnp.ones((1, 1), int), jnp.ones_like(places), places[:, -1:], places)
            out.append(jnp.swapaxes(einsum_attend(q1, k1, v1, seen), 1, 2))
        return jnp.concatenate(out)

    (q, k, v), _ = packed_rows(0, 1, causal=True)
    positions = jnp.array([[0], [LENGTH - 1], [7]])
    places = jnp.broadcast_to(jnp.arange(LENGTH), (ROWS, LENGTH))
    seen = Visibility(jnp.ones((ROWS, 1), int), jnp.ones((ROWS, LENGTH), int), positions, places)
    with (
        mock.patch.object(cudnn.fused, "dot_product_attention", as_the_kernel),
        mock.patch.object(cudnn, "cudnn_refusal", lambda q, k: None),
    ):
        ours = cached_attend(q[:, :1], k, v, seen)
    np.testing.assert_allclose(ours, einsum_attend(q[:, :1], k, v, seen), atol=1e-6)
    halves = [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) for x in (q[:, :1], q, k)]
    assert cached_refusal(halves[0], halves[2]) is None
    assert "of one new position, not of 24" in str(cached_refusal(halves[1], halves[2]))
    assert "takes bfloat16, not float32" in str(cached_refusal(q[:, :1], k))


def test_cudnn_takes_half_precision_alone_and_lowers_forward_and_backward() -> None:
    (q, k, v), seen = packed_rows(0, MOST, causal=True)
    with pytest.raises(InputError, match="cuDNN attention takes bfloat16, not float32"):
        cudnn_attend(q, k, v, seen)
    half = tuple(array.astype(jnp.bfloat16) for array in (q, k, v))
    for attend, call, mask in (
        (cudnn_attend, "ScaleBiasSoftmax", "NO_MASK"),
        (PackedAttend(MOST), "Softmax", "PADDING_CAUSAL"),
        (PackedAttend(1), "Softmax", "CAUSAL"),
    ):
        with (  # jax asks the machine's cuDNN before it lowers for another machine
            mock.patch.object(cudnn.fused, "check_cudnn_version", lambda: 91_500),
            mock.patch.object(cudnn.fused, "check_compute_capability", lambda *_: True),
        ):
            traced = jax.jit(jax.grad(lambda x, a=attend: jnp.sum(a(*x, seen).astype(jnp.float32)))).trace(half)
            text = traced.lower(lowering_platforms=("cuda",)).as_text()
        assert f"__cudnn$fmha{call}(" in text and f"__cudnn$fmha{call}Backward(" in text
        masks = set(re.findall(r"mask_type\\22: \\22(\w+)", text))
        assert masks == {mask}
