"""Core-Cocktail's merge: arithmetic, subtrees, sharding, refusals, and the same bits on disk as in memory."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_model import golden
from launchers import called, launched

from fac_jax.checkpoint.export import export_model, load_params
from fac_jax.models.config import replace
from fac_jax.training.merge import merge
from fac_jax.types import InputError, Params

ORIGIN = {"stage": "test", "order": 0, "steps": 0}


def models(dtype: str = "float32") -> tuple[Params, Params]:
    """The recorded dense model, and another of its shapes."""
    params = golden("dense").params
    rng = np.random.default_rng(0)
    other = jax.tree.map(lambda leaf: leaf + rng.normal(size=leaf.shape).astype(np.float32), params)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), (params, other))


def test_alpha_weighs_the_chosen_subtrees_alone() -> None:
    trained, start = models()
    merged = merge(trained, start, {"backbone/decoder/norm": 0.0, "backbone/": 0.25})
    jax.tree.map(np.testing.assert_array_equal, merged["encoder"], trained["encoder"])
    scale = merged["backbone"]["decoder"]["norm"]["scale"]
    np.testing.assert_array_equal(scale, start["backbone"]["decoder"]["norm"]["scale"])
    a, b, c = (tree["backbone"]["embed"]["embedding"] for tree in (trained, start, merged))
    np.testing.assert_allclose(c, 0.25 * a + 0.75 * b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("alpha", "which"), [(0.0, 1), (1.0, 0)])
def test_the_ends_are_the_models_themselves(alpha: float, which: int) -> None:
    pair = models()
    jax.tree.map(np.testing.assert_array_equal, merge(*pair, {"": alpha}), pair[which])


def test_the_sum_is_float32_and_the_dtype_stays() -> None:
    trained, start = models("bfloat16")
    merged = merge(trained, start, {"": 0.5})
    a, b, c = (tree["backbone"]["embed"]["embedding"] for tree in (trained, start, merged))
    assert c.dtype == jnp.bfloat16
    exact = (np.asarray(a, np.float32) + np.asarray(b, np.float32)) / 2
    np.testing.assert_array_equal(c, exact.astype(jnp.bfloat16))


def test_shards_stay_where_they_are() -> None:
    rows = jax.sharding.NamedSharding(jax.make_mesh((8,), ("fsdp",)), jax.P("fsdp"))
    trees = [{"backbone": {"kernel": jax.device_put(np.full((16, 8), value, np.float32), rows)}} for value in (1, 3)]
    merged = merge(*trees, {"backbone/": 0.25})["backbone"]["kernel"]
    assert merged.sharding.is_equivalent_to(rows, 2), merged.sharding
    assert {shard.data.shape for shard in merged.addressable_shards} == {(2, 8)}
    np.testing.assert_array_equal(merged, 2.5)


@pytest.mark.parametrize(
    ("change", "alphas", "words"),
    [
        (lambda tree: tree["backbone"].pop("embed"), {"": 0.5}, r"backbone/embed/embedding is .* in one, absent in"),
        (lambda tree: None, {"spine/": 0.5}, 'merge pattern "spine/" matches no parameter; the tree has backbone'),
        (lambda tree: None, {"": 1.5}, "alpha is from 0 to 1, but  has 1.5"),
    ],
)
def test_what_cannot_be_merged_is_refused(change, alphas: dict[str, float], words: str) -> None:
    trained, start = models()
    change(start)
    with pytest.raises(InputError, match=words):
        merge(trained, start, alphas)


# Bfloat16 is the harder of the two: its parts are merged in float32.
@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"])
def test_on_disk_it_is_the_same_bit_for_bit(dtype: str, tmp_path: Path) -> None:
    pair = models(dtype)
    config = replace(golden("dense").config, param_dtype=dtype)
    for name, params in zip("ab", pair, strict=True):
        export_model(tmp_path / name, params, config, ORIGIN, {})
    words = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "c")]
    alphas = {"backbone/decoder": 0.3, "refined_head/": 0.7}
    options = [f"--subtree={pattern}={alpha}" for pattern, alpha in alphas.items()]
    called("experiments.convert", "merge", *words, *options)
    merged, found = load_params(tmp_path / "c")
    assert found == config
    jax.tree.map(np.testing.assert_array_equal, merged, merge(*pair, alphas))


def test_the_launcher_refuses_models_that_differ(tmp_path: Path) -> None:
    for name, case in (("a", "dense"), ("b", "moe")):
        export_model(tmp_path / name, golden(case).params, golden(case).config, ORIGIN, {})
    words = [str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "c")]
    result = launched("experiments.convert", "merge", *words)
    assert result.returncode == 2 and "cannot be merged" in result.stderr and result.stderr.count("\n") == 1
    assert not list(tmp_path.glob("c*"))
