"""Stages that train an adapter: from a base that no checkpoint repeats, to an adapter of PEFT and a merged model."""

import contextlib
import dataclasses
import json
import shutil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adapters import EVERYTHING, adapted_params
from etils import epath
from flax import traverse_util
from toy_pairs import pairs_of, same
from toy_training import MODEL, ToyData, ToyRun, warmup

from fac_jax.batching.loaded import Loaded
from fac_jax.checkpoint.adapters.adapter import put_adapter
from fac_jax.checkpoint.adapters.base import base_digest
from fac_jax.checkpoint.adapters.load import read_adapter
from fac_jax.checkpoint.export import load_params, resolve
from fac_jax.checkpoint.store import AdapterBase, CheckpointStore, stored
from fac_jax.losses import Preference, preference
from fac_jax.losses.log_probs import ReplyLogProbs
from fac_jax.models import lora
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.lora import LoraConfig
from fac_jax.training.metrics import read_curve
from fac_jax.training.optimizer import OptimizerConfig, decays
from fac_jax.training.program import abstract_params, stage_program
from fac_jax.training.recipe import Recipe, check_parameters
from fac_jax.training.run_recipe import run_recipe
from fac_jax.training.stage import MergeConfig, StageConfig
from fac_jax.types import InputError, Params

EARS = LoraConfig(("encoder",), rank=2)
BASE = StageConfig("base", 0)


def adapter_stage(name: str = "ears", config: LoraConfig = EARS, **changes: Any) -> StageConfig:
    return warmup(name, **({"trainable": None, "lora": config, "steps": 4, "checkpoint_every": 2} | changes))


def flat(params: Params) -> dict[str, Any]:
    return traverse_util.flatten_dict(params, sep="/")


class Stopping(ToyData):
    """Is interrupted when the third batch is asked for."""

    def make(self, number: int) -> Loaded:
        if number == 3:
            raise KeyboardInterrupt
        return super().make(number)


def run(workdir: epath.Path, *stages: StageConfig, data: Any = None) -> None:
    run_recipe(Recipe(MODEL, stages, trackers=()), workdir, ToyRun(data or (lambda _: ToyData())), {})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> epath.Path:
    """A base, an adapter that was trained on it, and the merge of the two models."""
    workdir = epath.Path(tmp_path_factory.mktemp("finished"))
    run(workdir, BASE, adapter_stage(), StageConfig("cocktail", 0, merge=MergeConfig("base", {"": 0.25})))
    return workdir


def test_checkpoints_hold_the_adapter_and_its_moments_alone(finished: epath.Path) -> None:
    base, checkpoints = load_params(finished / "base")[0], finished / "ears" / "checkpoints"
    named = json.loads((checkpoints / "base.json").read_text())
    assert named == {"digest": base_digest(base, MODEL), "folder": "base/model"}
    written = [path for part in ("4/params", "4/optimizer", "frozen") for path in names_in(checkpoints / part)]
    assert len(written) == 2 * 6 + 2 * (2 * 6) + 6 + 2  # A and B, two moments of each, scales, and two counts
    assert all("lora_" in path or path.endswith("count") for path in written)


def names_in(folder: epath.Path) -> list[str]:
    leaves = jax.tree_util.tree_leaves_with_path(stored(folder))
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def test_a_finished_stage_is_an_adapter_and_the_merged_model(finished: epath.Path) -> None:
    base, model = (load_params(finished / name)[0] for name in ("base", "ears"))
    adapter = read_adapter(finished / "ears" / "adapter", MODEL)
    assert adapter.base == base_digest(base, MODEL)
    same(lora.merge(put_adapter(base, adapter)), model)
    same(load_params(finished / "ears" / "checkpoints" / "4")[0], model)  # a running checkpoint finds its base
    changed = {path for path, leaf in flat(model).items() if not np.array_equal(leaf, flat(base)[path])}
    assert changed == {f"encoder/layers/{part}/kernel" for part in ATTENTION_AND_MLP}


ATTENTION_AND_MLP = (*(f"attention/{name}" for name in "qkvo"), "mlp/fc1", "mlp/fc2")


def test_a_merge_by_alpha_is_the_adapter_with_alpha_on_its_scale(finished: epath.Path) -> None:
    """Core-Cocktail of a model and the base of its adapter."""
    base, mixed = (load_params(finished / name)[0] for name in ("base", "cocktail"))
    weaker = flat(lora.with_adapter(base, read_adapter(finished / "ears" / "adapter", MODEL).leaves))
    weaker |= {path: 0.25 * leaf for path, leaf in weaker.items() if path.endswith("lora_scale")}
    expected = flat(lora.merge(traverse_util.unflatten_dict(weaker, sep="/")))
    for path, leaf in flat(mixed).items():
        np.testing.assert_allclose(leaf, expected[path], rtol=0, atol=1e-7, err_msg=path)


@pytest.mark.slow
def test_a_stage_resumes_bit_for_bit_on_its_base_alone(finished: epath.Path, tmp_path: Any) -> None:
    stages, workdir = (BASE, adapter_stage()), epath.Path(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run(workdir, *stages, data=lambda _: Stopping())
    checkpoint = resolve(workdir / "ears")
    assert checkpoint.name == "2"

    shutil.move(workdir / "base" / "model", workdir / "kept")
    run(workdir, dataclasses.replace(BASE, seed=1))
    digests = [base_digest(load_params(folder)[0], MODEL) for folder in (workdir / "kept", workdir / "base")]
    wrong = f"{checkpoint}: an adapter of a base with the digest {digests[0]}, but the stage starts from one with"
    with pytest.raises(InputError, match=f"{wrong} {digests[1]}: give it that base"):
        run(workdir, *stages)
    with pytest.raises(
        InputError, match=f"an adapter of a model with the digest {digests[0]}, but .* has {digests[1]}"
    ):
        load_params(checkpoint)

    shutil.rmtree(workdir / "base" / "model")
    shutil.move(workdir / "kept", workdir / "base" / "model")
    run(workdir, *stages)
    same(*(load_params(folder / "ears")[0] for folder in (workdir, finished)))
    assert read_curve(workdir / "ears") == read_curve(finished / "ears")


@pytest.mark.slow
def test_a_stage_may_go_on_from_an_adapter(finished: epath.Path, tmp_path: Any) -> None:
    workdir, folder = epath.Path(tmp_path), str(finished / "ears" / "adapter")
    still, again = OptimizerConfig(peak=0.0), dataclasses.replace(EARS, init_from=folder)
    ears = adapter_stage(config=again, optimizer=still, steps=1)
    run(workdir, BASE, ears)
    same(*(load_params(one / "ears")[0] for one in (workdir, finished)))
    other = dataclasses.replace(again, rank=3)
    with pytest.raises(InputError, match=r"lora_a is \(1, 16, 2\) there, \(1, 16, 3\) in the model"):
        run(workdir, BASE, adapter_stage("other", other, start_from="base"))
    with pytest.raises(InputError, match="but stage another starts from one with [0-9a-f]{16}: set its start_from"):
        run(workdir, BASE, ears, adapter_stage("another", again))


def test_another_base_is_refused(tmp_path: Any) -> None:
    trainable, frozen = {"head": {"lora_a": jnp.ones(3)}}, {"head": {"kernel": jnp.ones(2), "lora_scale": jnp.ones(())}}
    count = {"count": jnp.zeros(())}
    for base in ("1" * 16, "2" * 16):
        with contextlib.closing(CheckpointStore(tmp_path, MODEL, 1, AdapterBase(base, None))) as store:
            if base.startswith("1"):
                store.save(1, trainable, count, {}, frozen)
                assert store.latest() == 1
                same(store.restore(1, trainable, count)[0], trainable)
                continue
            with pytest.raises(InputError, match=f"a base with the digest {'1' * 16}, but .* one with {base}"):
                store.restore(1, trainable, count)
    with pytest.raises(InputError, match="holds an adapter of a model that was not written"):
        load_params(tmp_path / "1")


def test_tables_train_in_full_next_to_an_adapter() -> None:
    what = StageConfig("speak", 1, lora=LoraConfig(("head", "tables")), trainable=("backbone/decoder/norm/",))
    state = stage_program(MODEL, what, None).state
    moments = [
        flat(part.mu)
        for part in jax.tree.leaves(state.opt_state, is_leaf=lambda x: hasattr(x, "mu"))
        if hasattr(part, "mu")
    ]
    trained = {path for path in moments[0] if not lora.is_leaf(path)}
    assert trained == {"backbone/embed/embedding", "speech_embedder/embed/embedding", "backbone/decoder/norm/scale"}


def test_adapters_of_a_coarse_base_are_float32_and_never_decay() -> None:
    coarse = replace(MODEL, param_dtype="bfloat16")
    what = StageConfig("speak", 1, lora=LoraConfig(), optimizer=OptimizerConfig(peak=1e-3, no_decay="^$"))
    check_parameters(coarse, [what], None)
    params = flat(abstract_params(coarse, None, what.lora))
    assert {leaf.dtype.name for path, leaf in params.items() if lora.is_leaf(path)} == {"float32"}
    assert params["refined_head/pre/kernel"].dtype == jnp.bfloat16
    decaying = flat(decays(abstract_params(coarse, None, what.lora), what.optimizer.no_decay))
    assert not any(decaying[path] for path in params if lora.is_leaf(path)) and decaying["refined_head/pre/kernel"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora": LoraConfig(("llms",))}, "stages.speak: lora.targets: 'llms' matches no parameter"),
        ({"lora": LoraConfig(("experts",))}, "stages.speak: lora.targets: 'experts' matches no parameter"),
        ({"lora": LoraConfig(), "trainable": ("vocoder/",)}, 'stages.speak: trainable pattern "vocoder/" matches no'),
    ],
)
def test_what_the_model_does_not_have_is_told_before_a_run(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_parameters(MODEL, [StageConfig("speak", 1, **changes)], None)


@pytest.mark.parametrize(
    "changes", [{}, {"lora": LoraConfig(("llm", "tables"))}, {"lora": LoraConfig(), "trainable": ("encoder/",)}]
)
def test_without_the_adapter_is_no_reference_for_what_else_trains(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match='stages.dpo: loss.reference "adapter_off" is the model without its adapter'):
        StageConfig("dpo", 1, loss=Preference(reference="adapter_off"), **changes)


def test_the_reference_is_scored_without_the_adapter(toy_params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an adapter that is merged into the parameters, by the reference that is given."""
    scored: list[Params] = []

    def score(model: Any, params: Params, *rest: Any) -> ReplyLogProbs:
        scored.append(params)
        return ReplyLogProbs(jnp.zeros((4, 1, 2)), jnp.ones((4, 1, 2)))

    monkeypatch.setattr(preference, "reply_log_probs", score)
    loss, model, base = Preference(reference="adapter_off"), FunAudioChat(MODEL), toy_params
    adapted = adapted_params(base, LoraConfig(("head",), rank=2))
    _, metrics = loss(model, adapted, pairs_of(0))
    loss(model, lora.merge(adapted), pairs_of(0), reference=base)
    assert jax.tree.structure(scored[0]) == jax.tree.structure(scored[2]) == jax.tree.structure(base)
    same(scored[0], base)
    assert scored[1] is adapted and scored[2] is base
    assert metrics["preference_loss"] == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.slow
def test_preferences_against_the_model_without_its_adapter(toy_params: Params) -> None:
    """The same numbers as with a copy of the base, and no preference before the first step."""
    off, frozen = (Preference(reference=name, speech_weight=0.0) for name in ("adapter_off", "frozen"))
    config = LoraConfig(EVERYTHING, rank=2)
    batch, model = pairs_of(0), FunAudioChat(MODEL)

    @jax.jit
    def both(params: Params, base: Params) -> Any:
        return off(model, params, batch), frozen(model, params, batch, reference=base)

    for params, moved in (
        (lora.attach(toy_params, config, jax.random.key(0)), False),
        (adapted_params(toy_params, config), True),
    ):
        mine, expected = jax.device_get(both(params, toy_params))
        same(mine, expected)
        assert bool(mine[1]["robustness/margin"]) is moved
        if not moved:
            assert mine[1]["preference_loss"] == pytest.approx(np.log(2), rel=1e-6)
            assert mine[1]["robustness/kl"] == 0
