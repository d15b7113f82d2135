"""Adapters of a model: what they are made of, what they compute in every form of a layer, and what is refused."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adapters import EVERYTHING, adapted_params
from flax import traverse_util
from toy_training import MODEL, make_batch

from fac_jax.generation.prepared import prepare, with_adapter
from fac_jax.layers.attention import self_visibility
from fac_jax.layers.linear import Linear
from fac_jax.layers.matrices import Int8Rows, Rows
from fac_jax.layers.mlp import SwiGLU
from fac_jax.models import lora
from fac_jax.models.config import MoEConfig, replace
from fac_jax.models.decoder import Decoder
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.lora import LoraConfig
from fac_jax.training.program import abstract_params
from fac_jax.types import InputError, Params

SPARSE = MoEConfig(num_experts=4, top_k=2, expert_width=24, dense_layers=(1,))
MIXED = replace(MODEL, text={"moe": SPARSE}, audio={"depth": 2})  # layers: experts, dense; tied tables
ALL = LoraConfig((*EVERYTHING, "experts"), rank=3)
attach = jax.jit(lora.attach, static_argnums=1)  # one program in place of many


@pytest.fixture(scope="module")
def base() -> Params:
    """Random parameters, not compiled."""
    rng = np.random.default_rng(0)

    def random(shape: jax.ShapeDtypeStruct) -> jax.Array:
        noise = rng.standard_normal(shape.shape)
        return jnp.asarray(noise * shape.shape[-2] ** -0.5 if len(shape.shape) > 1 else 1 + 0.1 * noise, jnp.float32)

    return jax.tree.map(random, abstract_params(MIXED, None))


@pytest.fixture(scope="module")
def adapted(base: Params) -> Params:
    return adapted_params(base, ALL)


@pytest.fixture(scope="module")
def prepared(base: Params) -> tuple[FunAudioChat, Params]:
    """The base in the form of generation."""
    return prepare(MIXED, base)


def flat(params: Params) -> dict[str, Any]:
    return traverse_util.flatten_dict(params, sep="/")


def equal(a: Params, b: Params) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_an_adapter_is_three_leaves_next_to_every_chosen_kernel(base: Params) -> None:
    config = LoraConfig(("llm", "experts"), rank=4, alpha=6.0, expert_rank=2)
    made = flat(lora.adapter_of(attach(base, config, jax.random.key(0))))
    shapes = {path.removeprefix("backbone/decoder/"): leaf.shape for path, leaf in made.items()}
    assert shapes["layers_0/attention/q/lora_a"] == (1, 32, 4)
    assert shapes["layers_1/mlp/down/lora_b"] == (1, 4, 32)
    assert shapes["layers_1/mlp/down/lora_scale"] == (1,)
    assert shapes["layers_0/moe/gate_lora_a"] == (1, 4, 32, 2)
    assert shapes["layers_0/moe/down_lora_b"] == (1, 4, 2, 32)
    assert shapes["layers_0/moe/down_lora_scale"] == (1, 4)
    assert not any("router" in path or "norm" in path for path in made)
    assert all(path.startswith("backbone/decoder/") and leaf.dtype == jnp.float32 for path, leaf in made.items())
    for path, leaf in made.items():
        if path.endswith("lora_a"):
            reach = leaf.shape[-2] ** -0.5
            assert 0.8 * reach < float(jnp.abs(leaf).max()) < reach
        else:
            np.testing.assert_array_equal(leaf, 0.0 if path.endswith("lora_b") else 1.5)
    assert (config.scale, dataclasses.replace(config, rslora=True).scale) == (1.5, 3.0)


def test_numbers_of_a_module_do_not_depend_on_the_other_targets() -> None:
    shape = {"kernel": jax.ShapeDtypeStruct((4, 6), "float32")}
    params = {"refined_head": {"pre": shape, "output": shape}, "encoder": {"proj": shape}}
    one, more = (flat(lora.fresh(params, LoraConfig(t), jax.random.key(3))) for t in (("head",), ("head", "bridge")))
    path = "refined_head/pre/lora_a"
    np.testing.assert_array_equal(one[path], more[path])
    assert one.keys() < more.keys() and not np.array_equal(one[path], one["refined_head/output/lora_a"])


def test_base_and_adapter_come_apart_and_together(base: Params, adapted: Params) -> None:
    assert equal(lora.detach(adapted), base)
    assert equal(lora.with_adapter(base, lora.adapter_of(adapted)), adapted)
    assert lora.adapter_of(base) == {}
    fresh = lora.attach(base, LoraConfig(("bridge",)), jax.random.key(0))
    assert equal(lora.merge(fresh), base)  # it changes no bit


def test_a_merge_is_rounded_once_to_the_dtype_of_the_kernel(base: Params, adapted: Params) -> None:
    coarse = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), base)
    merged, leaves = flat(lora.merge(lora.with_adapter(coarse, lora.adapter_of(adapted)))), flat(adapted)
    for module in ("backbone/decoder/layers_1/mlp/up/", "backbone/decoder/layers_0/moe/up"):
        kernel = module + ("kernel" if module.endswith("/") else "")
        a, b, scale = (np.asarray(leaves[path], np.float64) for path in lora.leaf_paths(module.removesuffix("/")))
        exact = np.asarray(flat(coarse)[kernel], np.float64) + scale[..., None, None] * (a @ b)
        np.testing.assert_allclose(np.asarray(merged[kernel], np.float64), exact, rtol=2.0**-8, atol=1e-6)
        assert merged[kernel].dtype == jnp.bfloat16


def outputs(params: Params, heads: Literal["joint", "text"], model: Any = None) -> list[jax.Array]:
    """States of the Shared LLM, and of the refined head where it is run."""
    batch = make_batch(0, rows=2)

    @jax.jit
    def run(params: Params) -> list[jax.Array]:
        out = (model or FunAudioChat(MIXED)).apply({"params": params}, batch, heads)
        return [out.hidden] if out.speech_hidden is None else [out.hidden, out.speech_hidden]

    with jax.default_matmul_precision("highest"):
        found = jax.device_get(run(params))
    return [states[batch.segment_ids > 0] for states in found]


def test_a_model_with_an_adapter_is_the_merged_one(base: Params, adapted: Params, figures: Any) -> None:
    plain, made = outputs(base, "text"), outputs(adapted, "text")
    fresh = {path: 0 * leaf if path.endswith("lora_b") else leaf for path, leaf in flat(adapted).items()}
    np.testing.assert_array_equal(*outputs(traverse_util.unflatten_dict(fresh, sep="/"), "text"), *plain)
    assert np.abs(made[0] - plain[0]).max() > 0.05 * np.abs(made[0]).max()
    figures("adapter, states, merged, max rel diff", worst(outputs(lora.merge(adapted), "text"), made), 1e-5)


@pytest.mark.slow
def test_both_streams_of_a_model_with_an_adapter_in_both_forms(
    adapted: Params, prepared: tuple[FunAudioChat, Params], figures: Any
) -> None:
    made, merged = outputs(adapted, "joint"), outputs(lora.merge(adapted), "joint")
    decoding = outputs(with_adapter(prepared[1], lora.adapter_of(adapted)), "joint", prepared[0])
    figures("adapter, both streams, merged, max rel diff", worst(merged, made), 1e-5)
    figures("adapter, both streams, in the form of generation, max rel diff", worst(decoding, made), 1e-5)


def worst(ours: list[jax.Array], theirs: list[jax.Array]) -> float:
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours, theirs, strict=True))


DECODERS: dict[str, dict[str, Any]] = {
    "scanned and rematerialised": {"remat": "full"},
    "unrolled": {"unroll": True},
    "scanned": {},
}


@pytest.fixture(scope="module")
def decoder() -> tuple[Params, Any]:
    """The gradient of A and B through merged kernels, and what gives it in a form."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 32))
    positions = jnp.broadcast_to(jnp.arange(5), (2, 5))
    args = (x, positions, self_visibility(jnp.ones((2, 5), jnp.int32), positions, causal=True))
    params = jax.jit(lambda: nn.unbox(Decoder(MIXED.text).init(jax.random.key(1), *args)["params"]))()
    whole = adapted_params(params, LoraConfig((".*(attention|mlp)/", ".*moe/(gate|up|down)"), rank=3))

    def gradient(form: Any, prepare: Any) -> Params:
        def loss(adapter: Params) -> jax.Array:
            found = prepare(lora.with_adapter(params, adapter))
            return jnp.sum(jnp.sin(Decoder(MIXED.text, **form).apply({"params": found}, *args)[0]))

        with jax.default_matmul_precision("highest"):
            return flat(jax.jit(jax.grad(loss))(lora.adapter_of(whole)))

    return gradient({}, lora.merge), gradient


@pytest.mark.slow
@pytest.mark.parametrize("form", DECODERS)
def test_a_decoder_learns_with_adapters_in_every_form(decoder: Any, form: str) -> None:
    """The gradient of A and B is that of the merged kernel, carried through the product."""
    expected, gradient = decoder
    ours = gradient(DECODERS[form], lambda params: params)
    assert len(ours) == 3 * (2 * 4 + 3 + 3)
    for path, leaf in ours.items():
        size = float(jnp.abs(expected[path]).max())
        np.testing.assert_allclose(leaf, expected[path], atol=1e-4 * size + 1e-6, err_msg=path)


def test_an_adapter_of_a_quantised_kernel() -> None:
    """A matrix of bytes, of one layer or of several that were joined, has its adapters in full precision."""
    rng = np.random.default_rng(0)
    x, kernel, a, b = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((3, 8), (8, 6), (8, 2), (2, 6)))
    rounded = Int8Rows.of(kernel.T, "float32")
    leaves = {"lora_a": a, "lora_b": b, "lora_scale": jnp.float32(0.5)}
    out = Linear(6, (None, None)).apply({"params": {"matrix": rounded, **leaves}}, x)
    expected = x @ (rounded.codes * rounded.scale[:, None]).T + 0.5 * (x @ a) @ b
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def test_joined_kernels_keep_an_adapter_each() -> None:
    rng = np.random.default_rng(0)
    random = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)  # noqa: E731
    x, scale = random(3, 8), jnp.float32(0.5)
    leaves = {name: {"lora_a": random(8, 2), "lora_b": random(2, 6), "lora_scale": scale} for name in ("gate", "up")}
    kernels = {name: random(8, 6) for name in leaves}
    down = {"down": {"kernel": random(6, 8)}}
    apart = down | {name: {"kernel": kernels[name], **leaves[name]} for name in leaves}
    joined = down | {
        "gate_up": Rows.of(jnp.concatenate([kernel.T for kernel in kernels.values()]), "float32"),
        **leaves,
    }
    outs = [SwiGLU(6).apply({"params": params}, x) for params in (joined, apart)]
    np.testing.assert_allclose(*outs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("quantize", [None, pytest.param("int8", marks=pytest.mark.slow)])
def test_an_adapter_enters_a_prepared_base(
    quantize: Any, base: Params, adapted: Params, prepared: tuple[FunAudioChat, Params]
) -> None:
    alone = prepared[1] if quantize is None else prepare(MIXED, base, None, quantize)[1]
    _, together = prepare(MIXED, adapted, None, quantize)
    assert equal(with_adapter(alone, lora.adapter_of(adapted)), together)
    assert equal(lora.detach(together), alone)


def test_another_adapter_compiles_nothing(base: Params, prepared: tuple[FunAudioChat, Params]) -> None:
    model, params = prepared
    run = jax.jit(lambda params, x: model.apply({"params": params}, x, x, method=_pieces))
    found = []
    for seed in range(2):
        one = with_adapter(params, lora.adapter_of(adapted_params(base, LoraConfig(("head",), rank=2), seed)))
        assert one["refined_head"]["pre"]["matrix"] is params["refined_head"]["pre"]["matrix"]
        found.append(run(one, jnp.ones((1, 1, 32))))
    assert run._cache_size() == 1
    assert not np.array_equal(*found)


def _pieces(model: FunAudioChat, hidden: jax.Array, text: jax.Array) -> jax.Array:
    return model.refined_head.condition(hidden, text)


def test_all_wrong_targets_are_told_together(base: Params) -> None:
    wrong = LoraConfig(("heads", "llm", "backbone/decoder/norm", "encoder/conv1"))
    with pytest.raises(InputError) as caught:
        lora.attach(base, wrong, jax.random.key(0))
    assert str(caught.value) == (
        "lora.targets: 'heads' matches no parameter; 'backbone/decoder/norm' matches no kernel: "
        "backbone/decoder/norm/scale is none; 'encoder/conv1' matches no kernel: encoder/conv1/bias is none; "
        "sets are llm, head, bridge, encoder, experts, tables"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 0}, "lora.rank is 0; it must be at least 1"),
        ({"expert_rank": 0}, "lora.expert_rank is 0; it must be at least 1"),
        ({"alpha": float("nan")}, "lora.alpha is nan; it must be more than 0"),
        ({"targets": ("(",)}, "lora.targets: '\\(' is none of llm, .*, and no pattern"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_numbers_that_no_adapter_can_have_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LoraConfig(**change)


def test_all_leaves_that_do_not_fit_are_told_together(base: Params, adapted: Params) -> None:
    leaves = flat(lora.adapter_of(adapted))
    q, k = ("backbone/decoder/layers_1/attention/q", "backbone/decoder/layers_1/attention/k")
    leaves[f"{q}/lora_a"] = leaves[f"{q}/lora_a"][:, 1:]
    del leaves[f"{k}/lora_b"]
    leaves["backbone/decoder/layers_9/mlp/up/lora_a"] = leaves[f"{k}/lora_a"]
    with pytest.raises(InputError) as caught:
        lora.with_adapter(base, traverse_util.unflatten_dict(leaves, sep="/"))
    assert str(caught.value) == (
        "adapter of another model: backbone/decoder/layers_9/mlp/up/lora_a belongs to no kernel of the model; "
        f"{k} lacks {k}/lora_b; "
        f"{q} is (1, 32, 32), but A is (1, 31, 3), B is (1, 3, 32) and the scale is (1,)"
    )
