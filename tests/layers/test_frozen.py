"""Kernels in fewer bits: nf4 as bitsandbytes recorded it, and products and gradients as those of the wide kernel."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.frozen import (
    DYNAMIC,
    FrozenKernel,
    Rounded,
    frozen_product,
    normal_refusal,
    to_frozen_int8,
    to_normal,
)

NF4 = Path(__file__).parents[1] / "golden" / "lora" / "nf4.npz"
FORMS = {
    "int8": to_frozen_int8,
    "nf4": to_normal,
    "nf4, scales as they are": lambda kernel: to_normal(kernel, rounded=False),
}


def kernel_of(inward: int, outward: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal((inward, outward)), jnp.float32)


@pytest.mark.parametrize("name", ["q_proj", "down_proj"])  # of [64, 96] and of [96, 64], whose blocks cross rows
@pytest.mark.parametrize("double", [False, True])
def test_normal_floats_are_those_of_bitsandbytes(name: str, double: bool, figures: Any) -> None:
    recorded = np.load(NF4)
    theirs = {key: recorded[f"{name}/nf4_{'double_' * double}{key}"] for key in ("packed", "absmax", "dequantised")}
    made = to_normal(jnp.asarray(recorded[f"{name}/weight"].T), rounded=double)
    np.testing.assert_array_equal(np.ravel(made.codes), theirs["packed"])
    ulp = np.finfo(np.float32).eps  # of sums and of the 256 numbers; nothing else is rounded differently
    if isinstance(made.greatest, Rounded):
        np.testing.assert_array_equal(np.ravel(made.greatest.codes), theirs["absmax"])
        np.testing.assert_allclose(made.greatest.reach, recorded[f"{name}/nf4_double_absmax2"], rtol=2 * ulp)
        np.testing.assert_allclose(made.greatest.mean, recorded[f"{name}/nf4_double_offset"], rtol=ulp)
        np.testing.assert_allclose(DYNAMIC, recorded[f"{name}/nf4_double_code2"], rtol=ulp)
    else:
        np.testing.assert_array_equal(np.ravel(made.greatest), theirs["absmax"])
    difference = np.abs(made.wide("float32").T - theirs["dequantised"]).max() / np.abs(theirs["dequantised"]).max()
    figures(f"nf4 of {name}, {'rounded' if double else 'plain'} scales: max rel diff", difference, 2 * ulp * double)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", [(64, 24), (24, 64), (128, 6)])
def test_a_product_and_its_gradient_are_those_of_the_wide_kernel(form: str, shape: tuple[int, int]) -> None:
    kernel = kernel_of(*shape)
    made: FrozenKernel = FORMS[form](kernel)
    assert made.shape == kernel.shape
    wide, error = made.wide("float32"), 0.01 if form == "int8" else 0.12
    assert jnp.linalg.norm(wide - kernel) <= error * jnp.linalg.norm(kernel)
    x, back = (jnp.asarray(np.random.default_rng(1).standard_normal((2, 3, size)), jnp.float32) for size in shape)
    (y, pull), (expected, pulled) = jax.vjp(lambda x: frozen_product(x, made), x), jax.vjp(lambda x: x @ wide, x)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(*(np.asarray(each(back)[0]) for each in (pull, pulled)), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_a_product_keeps_the_dtype_of_its_vectors(form: str) -> None:
    x = jnp.ones((3, 64), jnp.bfloat16)
    y, pull = jax.vjp(FORMS[form](kernel_of(64, 8)).multiply, x)
    assert {y.dtype, pull(y)[0].dtype} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("form", FORMS)
def test_kernels_of_zeros_and_of_one_magnitude_stay_finite(form: str) -> None:
    zeros, ones = jnp.zeros((64, 8)), jnp.ones((64, 8))  # no block differs from the mean of all
    np.testing.assert_array_equal(FORMS[form](zeros).wide("float32"), zeros)
    np.testing.assert_allclose(FORMS[form](ones).wide("float32"), ones, rtol=1e-6)


def test_kernels_that_are_not_made_of_blocks_are_refused() -> None:
    assert normal_refusal((2, 4, 96, 64)) is None and normal_refusal((48, 32)) is None
    assert normal_refusal((3, 63, 64)) == "a kernel of 63 x 64 is not made of blocks of 64 in rows of an even number"
    assert normal_refusal((48, 31)) is not None
