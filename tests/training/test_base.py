"""The base of an adapter in fewer bits: a step is that on the same base made wide, on one device and on eight."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adapters import adapted_params
from etils import epath
from flax import traverse_util
from initial import initial_params
from mesh_run import CONFIGS, OPTIMIZER, ROWS, layout, worst
from toy_training import MODEL, ToyData, ToyRun, make_batch, stage, warmup

from fac_jax.checkpoint.adapters.adapter import put_adapter
from fac_jax.checkpoint.adapters.load import read_adapter
from fac_jax.checkpoint.export import load_params
from fac_jax.layers.attention import self_visibility
from fac_jax.layers.frozen import FrozenInt8, FrozenKernel, FrozenNormal
from fac_jax.layers.matrices import Int8Rows
from fac_jax.models import lora
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.decoder import Decoder
from fac_jax.models.lora import LoraConfig
from fac_jax.parallel.batches import place_batch
from fac_jax.parallel.mesh import Layout
from fac_jax.training.base import BaseConfig, quantise, quantised, widened
from fac_jax.training.overview import parameter_table
from fac_jax.training.program import abstract_params, stage_program
from fac_jax.training.recipe import Recipe, check_parameters
from fac_jax.training.run_recipe import run_recipe
from fac_jax.training.stage import StageConfig
from fac_jax.training.trainable import join, split
from fac_jax.types import InputError, Params

ADAPTER = LoraConfig(("llm", "head", "experts"), rank=4)
NF4 = BaseConfig("nf4", tables=True)
MOE = CONFIGS["moe"]


def flat(params: Params) -> dict[str, Any]:
    return traverse_util.flatten_dict(params, sep="/")


def wide(params: Params, dtype: str = "float32") -> Params:
    """Arrays in place of all that is in fewer bits."""

    def array(leaf: Any) -> Any:
        if not isinstance(leaf, FrozenKernel | Int8Rows):
            return leaf
        made = lambda each: each.wide(dtype)  # noqa: E731
        for _ in leaf.shape[:-2]:
            made = jax.vmap(made)
        return made(leaf)

    return traverse_util.unflatten_dict({path: array(leaf) for path, leaf in flat(params).items()}, sep="/")


def step_of(config: ModelConfig, base: BaseConfig, on: Layout | None = None) -> tuple[Any, Any, Params]:
    """The program of a stage that trains an adapter, its batch, and its parameters on a base in that form."""
    what = stage("lora", optimizer=OPTIMIZER, lora=ADAPTER, base=base)
    program, batch = stage_program(config, what, on), make_batch(0, rows=ROWS, config=config)
    params = quantise(adapted_params(initial_params(config), ADAPTER), program.state.params)
    return program, batch if on is None else place_batch(batch, on), params


DECODER = MOE.text


def decoder_gradients() -> Any:
    """Compiles the gradients of a scanned stack with experts, of A and B on any base."""
    x = 0.5 * jax.random.normal(jax.random.key(0), (2, 6, DECODER.width))
    places = jnp.tile(jnp.arange(6), (2, 1))
    sees = self_visibility(jnp.ones((2, 6), jnp.int32), places, causal=True)

    def loss(trained: Params, frozen: Params) -> jax.Array:
        out, _, _ = Decoder(DECODER, remat="full").apply({"params": join(trained, frozen)}, x, places, sees)
        return jnp.sum(jnp.sin(out))

    return jax.jit(jax.value_and_grad(loss))


@pytest.mark.slow
def test_gradients_of_an_adapter_are_those_on_the_base_made_wide(figures: Any) -> None:
    gradients, whole = decoder_gradients(), adapted_params(initial_params(MOE), ADAPTER)
    for base in (BaseConfig("int8"), BaseConfig("nf4")):
        shapes = quantised(abstract_params(MOE, None, ADAPTER), base, ADAPTER.patterns)
        params = quantise(whole, shapes)["backbone"]["decoder"]
        trained, frozen = split(params, ADAPTER.patterns)
        assert isinstance(frozen["layers_0"]["moe"]["gate"], FrozenKernel)
        found, expected = gradients(trained, frozen), gradients(trained, wide(frozen))
        pairs = list(zip(*map(jax.tree.leaves, (found, expected)), strict=True))
        worst = max(float(jnp.abs(ours - theirs).max() / jnp.abs(theirs).max()) for ours, theirs in pairs)
        figures(f"loss and gradients of A and B on {base.quantise}: max rel diff", worst, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (BaseConfig("int8", skip=()), {"remat": "full"}),
        (NF4, {"scan_layers": False}),
        (BaseConfig("nf4", double=False), {"unroll_layers": True}),
    ],
    ids=["int8, scanned, full remat", "nf4 and tables, layers apart", "nf4, unrolled"],
)
def test_a_step_is_that_on_the_base_made_wide(base: BaseConfig, changes: dict[str, Any], figures: Any) -> None:
    config = replace(MOE, **changes)
    program, batch, params = step_of(config, base)
    same = jax.tree.map(jnp.copy, wide(params))
    state, metrics = program.step(program.start(params), batch)
    expected, measured = step_of(config, BaseConfig())[0].step(program.start(same), batch)
    moments, others = (each.opt_state[1][0].mu for each in (state, expected))  # the gradient, clipped
    trained = [lora.adapter_of(each.params) for each in (state, expected)]
    name = f"step on a base in {base.quantise}: "
    figures(name + "loss, rel diff", abs(metrics["loss"] / measured["loss"] - 1), 1e-6)
    figures(name + "first moments, max rel diff", worst(moments, others), 1e-5)
    figures(name + "A and B, max rel diff", worst(*trained), 1e-5)


def test_what_is_in_fewer_bits_and_what_is_not() -> None:
    params = flat(quantised(abstract_params(MOE, None, ADAPTER), NF4, ADAPTER.patterns))
    forms = {path: type(leaf) for path, leaf in params.items() if isinstance(leaf, FrozenKernel | Int8Rows)}
    tables = {"backbone/embed/embedding", "speech_embedder/embed/embedding"}
    assert {path for path, form in forms.items() if form is Int8Rows} == tables
    assert all(form is FrozenNormal for path, form in forms.items() if path not in tables)
    layer = "backbone/decoder/layers_0"
    assert {f"{layer}/moe/down", f"{layer}/attention/q/kernel", "refined_head/pre/kernel"} <= forms.keys()
    assert not {f"{layer}/moe/router/kernel", "encoder/proj/kernel", "encoder/conv1/kernel"} & forms.keys()
    assert params[f"{layer}/moe/gate"].shape == (2, 4, 32, 16)
    assert params[f"{layer}/moe/gate"].codes.shape == (2, 4, 16, 16)
    assert abstract_params(MOE, None, ADAPTER) == quantised(abstract_params(MOE, None, ADAPTER), BaseConfig(), ())


def test_codes_are_divided_as_their_kernel_is() -> None:
    on = layout("2x2x2")
    params = abstract_params(MOE, on)
    made, given = flat(quantised(params, NF4, ())), flat(params)
    for name in ("attention/q/kernel", "attention/o/kernel", "moe/gate", "moe/down"):
        path = f"backbone/decoder/layers_0/{name}"
        *stack, inward, outward = given[path].sharding.spec
        assert made[path].codes.sharding.spec == jax.P(*stack, outward, inward), path
        if name == "attention/o/kernel":  # of rows of one block, which nothing divides
            assert made[path].greatest.codes.sharding.spec == jax.P(*stack, outward, None)
    assert made["backbone/embed/embedding"].codes.sharding.spec == given["backbone/embed/embedding"].sharding.spec
    table = parameter_table(quantised(params, NF4, ()), ("encoder/",))
    (line,) = [line for line in table.splitlines() if "/attention/o/kernel" in line and "backbone" in line]
    assert re.search(r"2 x 64 x 32 +nf4 +- x tensor x fsdp\+expert +4,096", line), line


@pytest.mark.slow
@pytest.mark.parametrize("mesh", ["4x2", "2x2x2"])
def test_a_step_on_eight_devices_is_that_on_one(mesh: str) -> None:
    found = []
    for on in (layout(mesh), None):
        program, batch, params = step_of(MOE, NF4, on)
        state, metrics = program.step(program.start(params), batch)
        found.append(jax.device_get((lora.adapter_of(state.params), metrics)))
    (params, metrics), (expected, measured) = found
    assert metrics["loss"] == pytest.approx(measured["loss"], rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(measured["grad_norm"], rel=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), params, expected)


@pytest.mark.slow  # compiles four steps
@pytest.mark.parametrize("form", ["int8", "nf4"])
def test_no_layer_is_kept_wide_for_the_backward_pass(form: str) -> None:
    """A deep stack without rematerialisation takes little more than with its base as it is."""
    config = replace(MODEL, text={"depth": 12, "width": 256, "mlp_width": 512})

    def temporaries(base: BaseConfig) -> int:
        program = stage_program(config, stage("lora", lora=LoraConfig(rank=4), base=base), None)
        compiled: Any = program.step.lower(program.state, make_batch(0, rows=1, config=config)).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    layer = 4 * 3 * 256 * 512  # bytes of a feed-forward block, wide
    assert temporaries(BaseConfig(form)) < temporaries(BaseConfig()) + 2 * layer


class Counted:
    """A stack of kernels that gives one layer at a time."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array
        self.asked: list[int] = []

    def __getitem__(self, layer: int) -> np.ndarray:
        self.asked.append(layer)
        return self._array[layer]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise AssertionError("the stack is read whole")


def test_kernels_are_read_a_layer_at_a_time() -> None:
    given = {path: np.asarray(leaf) for path, leaf in flat(initial_params(MODEL)).items()}
    path = "backbone/decoder/layers_0/mlp/up/kernel"
    lazily = {**given, path: Counted(given[path])}
    shapes = quantised(abstract_params(MODEL, None), BaseConfig("int8"), ())
    made = flat(quantise(traverse_util.unflatten_dict(lazily, sep="/"), shapes))[path]
    assert lazily[path].asked == [0, 1]
    assert isinstance(made, FrozenInt8)
    step = np.abs(given[path]).max(axis=1, keepdims=True) / 127
    assert np.all(np.abs(wide({"a": made})["a"] - given[path]) <= 0.51 * step)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"trainable": ("backbone/decoder/",)},
            r"stages.speak: base: backbone/decoder/layers_0/.* trains \('backbone/decoder/'\), so that it cannot be",
        ),
        (
            {"lora": LoraConfig(("tables",)), "base": BaseConfig(tables=True)},
            r"stages.speak: base: backbone/embed/embedding trains .*; speech_embedder/embed/embedding trains",
        ),
        ({"base": BaseConfig("int8", skip=("vocoder/",))}, "stages.speak: base: skip: 'vocoder/' matches no module"),
    ],
)
def test_what_trains_or_is_not_there_is_told_before_a_run(changes: dict[str, Any], message: str) -> None:
    what = {"lora": LoraConfig(), "base": NF4, **changes}
    with pytest.raises(InputError, match=message):
        check_parameters(MODEL, [StageConfig("speak", 1, **what)], None)


def test_a_kernel_without_blocks_is_told_with_all_others() -> None:
    odd = replace(MODEL, head={"mlp_width": 33})
    with pytest.raises(InputError, match=r"refined_head/.*/gate/kernel: a kernel of 16 x 33 .*refined_head/.*/up/ker"):
        quantised(abstract_params(odd, None), NF4, ())


def test_fewer_bits_are_for_the_base_of_an_adapter() -> None:
    with pytest.raises(InputError, match="stages.speak.base: what is held in fewer bits is the base of an adapter"):
        StageConfig("speak", 1, base=BaseConfig("int8"))
    with pytest.raises(InputError, match=r"base.skip: '\(' is no regular expression"):
        BaseConfig("int8", skip=("(",))


def test_a_finished_stage_merges_its_adapter_into_the_base_as_it_was(tmp_path: Any) -> None:
    """It trains on codes that are read from disk; its model is that which the adapter makes of the base elsewhere."""
    workdir, ears = epath.Path(tmp_path), LoraConfig(("encoder",), rank=2)
    trains = warmup("ears", trainable=None, lora=ears, base=BaseConfig("nf4", skip=()), steps=2, checkpoint_every=2)
    run_recipe(Recipe(MODEL, (StageConfig("base", 0), trains)), workdir, ToyRun(lambda _: ToyData()), {})
    base, model = (load_params(workdir / name)[0] for name in ("base", "ears"))
    adapter = read_adapter(workdir / "ears" / "adapter", MODEL)
    expected, changed = flat(lora.merge(put_adapter(base, adapter))), 0
    for path, leaf in flat(model).items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)
        changed += not np.array_equal(leaf, flat(base)[path])
    assert changed == 6


def test_what_a_stage_started_from_takes_the_place_of_its_codes() -> None:
    params = initial_params(MODEL)
    shapes = quantised(abstract_params(MODEL, None), NF4, ())
    again = widened(quantise(params, shapes), params)
    assert all(a is b or np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (again, params)), strict=True))
