"""Matrices of generation: their forms give the products of the values, to the precision of the form."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fac_jax.layers.four_bits import NORMAL, Int4Rows, NormalRows
from fac_jax.layers.matrices import Float8Rows, Int8Rows, LeftInt8Rows, LeftRows, Matrix, Rows, to_int8

NF4 = Path(__file__).parents[1] / "golden" / "lora" / "nf4.npz"
# Form, its greatest relative error of a product (norms), and the bytes of a value.
FORMS = [
    (Rows, 1e-6, 4.0),
    (LeftRows, 1e-6, 4.0),
    (Int8Rows, 0.01, 1.05),
    (LeftInt8Rows, 0.015, 1.05),
    (Float8Rows, 0.04, 1.05),
    (Int4Rows, 0.15, 0.6),
    (NormalRows, 0.15, 0.6),
]


def values(rows: int, width: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal((rows, width)), jnp.float32)


@pytest.mark.parametrize(("form", "error", "size"), FORMS, ids=[form.__name__ for form, _, _ in FORMS])
def test_products_and_lookups_are_those_of_the_values(form: type[Matrix], error: float, size: float) -> None:
    matrix, ids = values(24, 256).at[3].set(0), jnp.array([[0, 3], [23, 7]])
    made = form.of(matrix, "float32")
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(made)) <= size * matrix.size
    for vectors in (1, 2, 3, 5, 9):
        x = values(vectors, 256).reshape(vectors, 1, 256)
        for dtype in (None, "float32"):
            found, expected = made.multiply(x, dtype), jnp.matmul(x, matrix.T, precision="highest")
            assert found.shape == expected.shape
            assert found.dtype == expected.dtype
            assert jnp.linalg.norm(found - expected) <= error * jnp.linalg.norm(expected)
            assert not jnp.any(found[..., 3])
    found, expected = made.take(ids), matrix[ids]
    assert found.shape == expected.shape
    assert jnp.linalg.norm(found - expected) <= error * jnp.linalg.norm(expected)


@pytest.mark.parametrize("form", [form for form, _, _ in FORMS], ids=[form.__name__ for form, _, _ in FORMS])
def test_vectors_may_be_narrower_than_the_sum(form: type[Matrix]) -> None:
    x = values(2, 256).astype(jnp.bfloat16)
    made = form.of(values(24, 256), "bfloat16")
    assert made.multiply(x).dtype == jnp.bfloat16
    assert made.multiply(x, "float32").dtype == jnp.float32


@pytest.mark.parametrize("rows", [24, 6, 5])
def test_rows_read_as_one_give_exact_integer_products(rows: int) -> None:
    matrix = LeftInt8Rows.of(values(rows, 256), "float32")
    for vectors in (1, 2, 3, 4):
        x = values(vectors, 256)
        codes, scale = to_int8(x)
        whole = codes.astype(jnp.int32) @ matrix.codes.T.astype(jnp.int32)
        np.testing.assert_array_equal(matrix.multiply(x), whole * matrix.scale * scale[:, None])


def test_normal_floats_are_those_of_bitsandbytes() -> None:
    recorded = np.load(NF4)
    np.testing.assert_allclose(NORMAL, recorded["q_proj/nf4_values"], atol=1e-7)
    made = NormalRows.of(jnp.asarray(recorded["q_proj/weight"]), "float32")
    np.testing.assert_array_equal(np.asarray(made.codes).ravel(), recorded["q_proj/nf4_packed"])
    np.testing.assert_allclose(np.asarray(made.scale, np.float32).ravel(), recorded["q_proj/nf4_absmax"], rtol=2**-8)
    wide = made.take(jnp.arange(96))
    np.testing.assert_allclose(wide, recorded["q_proj/nf4_dequantised"], rtol=2**-8)
