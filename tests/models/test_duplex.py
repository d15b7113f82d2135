"""A duplex model against the half-duplex one that it starts from (docs/duplex.md)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_model import golden
from initial import initial_params
from mesh_run import DENSE, fresh, layout
from toy_training import MODEL, make_batch

from fac_jax.batching.batch_stats import batch_stats
from fac_jax.evaluation.parity.model import training_batch
from fac_jax.generation.prepared import prepare
from fac_jax.losses import Sft
from fac_jax.models import limits
from fac_jax.models.config import ModelConfig, replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.models.flops import blocks
from fac_jax.models.fun_audio_chat import FunAudioChat, empty_batch, with_beside
from fac_jax.parallel.kernels import training_kernels
from fac_jax.precision import EXACT, products
from fac_jax.training.program import abstract_params
from fac_jax.types import Batch, InputError, Kind, Params

DUPLEX = DuplexConfig(sinks=4, loudest_floor=0.0)


def with_random_beside(params: Params, config: ModelConfig) -> Params:
    like = params["speech_embedder"]["continuous"]["kernel"]
    kernel = np.random.default_rng(0).standard_normal(like.shape, dtype=np.float32)
    return {**params, "beside": {"kernel": kernel}}


def everything(config: ModelConfig, params: Params, batch: Batch) -> tuple[jax.Array, Any, Params]:
    """Outputs, the loss and its gradients."""

    @jax.jit
    def run(params: Params, batch: Batch) -> Any:
        model = FunAudioChat(config)
        out = model.apply({"params": params}, batch)
        return out, jax.value_and_grad(lambda p: Sft()(model, p, batch)[0])(params)

    with products(EXACT):
        out, (loss, grads) = run(params, batch)
    return loss, (out.hidden, out.speech_hidden, out.audio_frames), grads


def assert_same(ours: Any, theirs: Any) -> None:
    for (path, a), b in zip(jax.tree.leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(a, b, jax.tree_util.keystr(path))


@pytest.mark.parametrize("case", ["dense", pytest.param("moe_mixed", marks=pytest.mark.slow)])
def test_without_user_audio_beside_the_recorded_runs_are_unchanged_bit_for_bit(case: str) -> None:
    g = golden(case)
    batch, config = training_batch(g.arrays, g.config)
    duplex = replace(config, duplex=DUPLEX)
    nowhere = batch.replace(beside=np.zeros(batch.kind.shape, bool))
    loss, out, grads = everything(config, g.params, batch)
    *same, theirs = everything(duplex, with_random_beside(g.params, config), nowhere)
    assert not np.any(theirs.pop("beside")["kernel"])
    assert_same((*same, theirs), (loss, out, grads))


@pytest.fixture(scope="module")
def toy() -> tuple[ModelConfig, Params, Batch]:
    """A duplex model that starts from a half-duplex one, and a batch whose replies have the user's audio beside them.

    Every slot of a row hears frames of its window, also those that embed nothing of them.
    """
    config = replace(MODEL, duplex=DUPLEX)
    batch = make_batch(0)
    frames = np.arange(batch.frame_index.size).reshape(batch.frame_index.shape) % (3 * MODEL.audio.frames)
    batch = batch.replace(frame_index=frames.astype(np.int32), beside=batch.kind != Kind.SPEECH)
    return config, with_beside(initial_params(MODEL, 1), config), batch


@pytest.mark.slow
def test_a_kernel_of_zeros_changes_nothing_bit_for_bit_and_learns(toy: tuple[ModelConfig, Params, Batch]) -> None:
    config, params, batch = toy
    loss, out, grads = everything(config, params, batch)
    silent = everything(config, params, batch.replace(beside=np.zeros_like(batch.beside)))
    assert_same((loss, out), silent[:2])
    assert np.any(grads["beside"]["kernel"]) and not np.any(silent[2]["beside"]["kernel"])
    half = everything(
        MODEL, {name: part for name, part in params.items() if name != "beside"}, batch.replace(beside=None)
    )
    assert_same((loss, out), half[:2])


def test_what_is_beside_is_added_where_it_is(toy: tuple[ModelConfig, Params, Batch]) -> None:
    config, params, batch = toy
    params = with_random_beside(params, config)
    somewhere = batch.beside & (np.arange(batch.kind.shape[1]) % 2 == 0)

    @jax.jit
    def embed(params: Params, batch: Batch) -> Any:
        def both(model: FunAudioChat) -> Any:
            frames = model.audio_frames(batch)
            heard = model.speech_embedder(batch.speech_ids, batch.has_waveform, batch.frame_index, frames)[1]
            return model.embed(batch, frames)[0], heard

        return FunAudioChat(config).apply({"params": params}, method=both)

    without, heard = embed(params, batch.replace(beside=np.zeros_like(batch.beside)))
    with_it, _ = embed(params, batch.replace(beside=somewhere))
    wanted = np.where(somewhere[..., None], np.asarray(heard) @ params["beside"]["kernel"], 0)
    np.testing.assert_allclose(with_it - without, wanted, atol=2e-5)
    assert np.abs(wanted[somewhere]).max() > 0.1


def test_a_half_duplex_model_gets_the_kernel_once() -> None:
    config = replace(MODEL, duplex=DUPLEX)
    params = with_beside(initial_params(MODEL), config)
    fresh = initial_params(config)
    assert_same(jax.tree.map(jnp.shape, params), jax.tree.map(jnp.shape, fresh))
    assert not np.any(params["beside"]["kernel"]) and not np.any(fresh["beside"]["kernel"])
    trained = with_random_beside(params, config)
    assert with_beside(trained, config) is trained
    assert "beside" not in with_beside(initial_params(MODEL), MODEL)
    assert "beside" in prepare(config, params)[1]


def test_every_batch_of_a_duplex_model_has_the_field() -> None:
    assert empty_batch(MODEL, 1, 2, 1).beside is None
    empty = empty_batch(replace(MODEL, duplex=DUPLEX), 1, 2, 1)
    assert empty.beside.shape == empty.moments.shape == (1, 2) and not empty.beside.any()


def test_positions_before_a_call_are_sinks_and_the_window_slides(toy: tuple[ModelConfig, Params, Batch]) -> None:
    """Slot 0 comes after the sinks with any offset; of what is farther away than the window nothing is seen."""
    config, params, batch = toy
    config = replace(config, duplex=dataclasses.replace(DUPLEX, window=2, head_window=1))
    length = batch.kind.shape[1]
    run = jax.jit(FunAudioChat(config, training_kernels()).apply)

    def outputs(text_ids: np.ndarray, offset: int) -> tuple[np.ndarray, np.ndarray]:
        positions = np.arange(length) + np.where(np.arange(length) >= 4, offset, 0)
        row = batch.replace(positions=np.broadcast_to(positions, batch.kind.shape).astype(np.int32), text_ids=text_ids)
        out = run({"params": params}, row)
        return np.asarray(out.hidden), np.asarray(out.speech_hidden)

    def changed(place: int, offset: int) -> list[list[int]]:
        """Positions whose state in the LLM, and in the head, changes with the text at a place."""
        other = batch.text_ids.copy()
        other[:, place] = (other[:, place] + 1) % config.vocab_size
        both = zip(outputs(batch.text_ids, offset), outputs(other, offset), strict=True)
        return [np.flatnonzero(np.any(a != b, axis=(0, *range(2, a.ndim)))).tolist() for a, b in both]

    for offset in (0, 30000):
        # Each of two layers sees one position farther back, the head's layer four of its own.
        assert changed(7, offset) == [[7, 8, 9], [7, 8, 9, 10]]
        assert changed(0, offset)[0] == list(range(length)), "a sink is seen from everywhere"


def test_user_audio_beside_counts_as_products(toy: tuple[ModelConfig, Params, Batch]) -> None:
    config, _, batch = toy
    stats = batch_stats(batch)
    found = {block.name: block for block in blocks(config, stats)}
    count = int(batch.beside.sum())
    assert stats.beside == count and stats.features == count + int(batch.has_waveform.sum())
    assert found["beside"].products == {"kernel": 2.0 * count * config.text.width**2}
    assert "beside" in found["backbone 0"].reads
    away = batch.replace(positions=batch.positions + 30000)
    np.testing.assert_array_equal(batch_stats(away).pairs, stats.pairs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"user_audio": "tokens"}, 'user_audio is .tokens., must be "waveform" where duplex is set'),
        ({"audio": {"n_window": 24}}, "audio.n_window is 24, must be a multiple of 10 where duplex is set"),
        ({"duplex": {"window": 0}}, "duplex.window is 0, must be a whole number above 0"),
        ({"duplex": {"turn_weight": float("nan")}}, "duplex.turn_weight is nan, must be a finite number above 0"),
        ({"duplex": {"start_bias": float("inf")}}, "duplex.start_bias is inf, must be a finite number"),
    ],
)
def test_a_configuration_that_makes_no_call_is_refused(changes: dict[str, Any], message: str) -> None:
    duplex = replace(MODEL, duplex=DUPLEX)
    limits.check(duplex)
    with pytest.raises(InputError, match=message):
        limits.check(replace(duplex, **changes))


def test_a_mesh_divides_the_kernel_as_that_of_the_features() -> None:
    config, on = replace(DENSE, duplex=DUPLEX), layout("4x2")
    wanted = abstract_params(config, on)
    params = with_beside(fresh(DENSE, on), config)
    like = wanted["speech_embedder"]["continuous"]["kernel"].sharding
    assert params["beside"]["kernel"].sharding == wanted["beside"]["kernel"].sharding == like
    assert like.shard_shape((32, 32)) == (16, 8)
