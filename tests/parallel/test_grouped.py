"""The grouped product of Hopper GPUs with stand-ins for its kernels; `tests/gpu` has the kernels themselves."""

from types import SimpleNamespace
from unittest import mock

import jax
import jax.numpy as jnp
import pytest
from grouped_cases import SIZES, worst

from fac_jax.parallel import grouped
from fac_jax.parallel.grouped import grouped_refusal, hopper_product
from fac_jax.parallel.kernels import expanded_experts, training_kernels


def _as_the_kernel(lhs, rhs, *, group_sizes, transpose_rhs, **_):
    """What it does not write may hold anything, here NaN."""
    made = jax.lax.ragged_dot(lhs, rhs.swapaxes(1, 2) if transpose_rhs else rhs, group_sizes)
    return jnp.where((jnp.arange(len(lhs)) < jnp.sum(group_sizes))[:, None], made, jnp.nan)


def _as_its_transpose(lhs, rhs, *, group_sizes, **_):
    numbers = jax.lax.RaggedDotDimensionNumbers(
        (((0,), (0,)), ((), ())), lhs_ragged_dimensions=[0], rhs_group_dimensions=[]
    )
    return jax.lax.ragged_dot_general(lhs, rhs, group_sizes, numbers)


@pytest.mark.parametrize("case", SIZES)
def test_products_in_parts_equal_the_whole(case: str, figures) -> None:
    """640 rows, 256 at a time: the last part begins among rows that are done."""
    with (
        mock.patch.object(grouped, "ROWS", 256),
        mock.patch.object(grouped, "ragged_dot", _as_the_kernel),
        mock.patch.object(grouped, "transposed_ragged_dot", _as_its_transpose),
    ):
        for name, difference in worst(hopper_product, SIZES[case]).items():
            figures(f"grouped product in parts, {case}, {name}: max rel diff", difference, 1e-2)


def test_it_is_taken_on_hopper_alone_and_where_it_fits() -> None:
    for capability, product in (("9.0", hopper_product), ("8.0", jax.lax.ragged_dot), ("10.0", jax.lax.ragged_dot)):
        gpu = SimpleNamespace(compute_capability=capability)
        with mock.patch("jax.default_backend", lambda: "gpu"), mock.patch("jax.local_devices", lambda gpu=gpu: [gpu]):
            assert training_kernels(None).experts.product is product
            reasons = [expanded_experts(None, dtype, (2048, 768)) for dtype in ("bfloat16", "float32")]
        assert (reasons[0] is None) == (product is hopper_product) and reasons[1] is not None
    assert expanded_experts(None, "float32", (2048, 768)) is None  # a CPU
    assert grouped_refusal(jnp.bfloat16, (2048, 768)) is None
    assert grouped_refusal(jnp.float32, (2048, 768)) is not None
    assert grouped_refusal(jnp.bfloat16, (2048, 96)) is not None
    rows, kernels, sizes = jnp.ones((4, 6)), jnp.ones((2, 6, 5)), jnp.asarray([1, 3])
    assert "custom_vjp" not in str(jax.make_jaxpr(hopper_product)(rows, kernels, sizes))
