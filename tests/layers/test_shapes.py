"""The shapes that annotations state are checked while the tests run."""

import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from fac_jax.generation.sampling import keep_likeliest
from fac_jax.layers.attention import Visibility, einsum_attend
from fac_jax.models.refined_head import fine_positions


def test_wrong_shapes_are_seen():
    q, k, segments = jnp.zeros((1, 4, 2, 8)), jnp.zeros((1, 6, 2, 8)), jnp.ones((1, 4), int)
    keys = jnp.ones((1, 6), int)
    assert einsum_attend(q, k, k, Visibility(segments, keys, segments, keys)).shape == q.shape
    with pytest.raises(TypeCheckError):
        einsum_attend(q, k, k[:, :5], Visibility(segments, keys, segments, keys))
    with pytest.raises(TypeCheckError):
        fine_positions(jnp.zeros((1, 4)), 5)
    with pytest.raises(TypeCheckError):
        keep_likeliest(jnp.zeros((4,)), 2, 1.0)
