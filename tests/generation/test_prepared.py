"""Models in the form of generation: quantised weights, and weights that are read layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_model import golden

from fac_jax.checkpoint.lazy import Lazy
from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.evaluation.parity.model import under
from fac_jax.generation.decode import generate
from fac_jax.generation.prepared import prepare
from fac_jax.generation.slots import Decoding
from fac_jax.parallel.kernels import QUANTIZED, Quantized
from fac_jax.types import Params


def size(params: Params) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves({k: v for k, v in params.items() if k != "encoder"}))


@pytest.mark.parametrize(
    "quantize", [pytest.param(one, marks=[pytest.mark.slow] * (one != "int8")) for one in QUANTIZED]
)
def test_quantised_weights_answer(quantize: Quantized) -> None:
    g = golden("dense")
    prompt = release_batch(under(g.arrays, "s2s/in/"), g.config)
    model, params = prepare(g.config, g.params, None, quantize, quantize_tables=True)
    _, plain = prepare(g.config, g.params)
    assert size(params) < size(plain) * 0.36
    reply = generate(model, params, prompt, jax.random.split(jax.random.key(0), 1), 4, Decoding("joint", 4))
    assert int(reply.text_count[0]) == 4


def test_quantised_logits_are_close() -> None:
    g = golden("dense")
    hidden = jnp.asarray(np.random.default_rng(0).standard_normal((3, 1, g.config.text.width)), jnp.float32)
    found = []
    for quantize, tables in ((None, False), ("int8", False), ("int8", True)):
        model, params = prepare(g.config, g.params, None, quantize, tables)
        found.append(model.apply({"params": params}, hidden, method="text_logits"))
    np.testing.assert_array_equal(found[0], found[1])
    error = jnp.linalg.norm(found[2] - found[0]) / jnp.linalg.norm(found[0])
    assert 0 < error < 0.02


def test_layers_are_read_one_at_a_time() -> None:
    g = golden("moe_mixed")
    asked = []

    def lazy(path: tuple, leaf: np.ndarray) -> Lazy:
        def read(index: tuple[int, ...]) -> np.ndarray:
            asked.append((jax.tree_util.keystr(path), index))
            return np.asarray(leaf[index])

        return Lazy(read)

    model, params = prepare(g.config, g.params)
    again, read = prepare(g.config, jax.tree_util.tree_map_with_path(lazy, g.params))
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, read, params)
    stacked = [index for name, index in asked if "decoder']['layers_" in name]
    assert stacked
    assert all(len(index) == 1 for index in stacked)
    assert len(set(asked)) == len(asked)
