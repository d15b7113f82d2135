"""Packed batches as training gets them: whole epochs, exact resume, static shapes, mixtures, hosts."""

import dataclasses
import json
from collections import Counter
from typing import Any

import jax
import numpy as np
import pytest
from packed_run import CONFIG, GRID, ROWS, SEQ_LEN, SIZES, WINDOWS, begin, frames_instead, ids, lines, sources

from data_pipelines.loading.packed import load_packed
from data_pipelines.loading.sources import shares
from fac_jax.parallel.shards import HostShard
from fac_jax.types import NO_FRAME, InputError


def test_every_row_comes_once_an_epoch_and_shapes_are_static() -> None:
    batches, seen = begin(), Counter[str]()
    while seen.total() < 3 * 69:
        loaded = next(batches)
        batch = loaded.batch
        assert batch.text_ids.shape == (ROWS, SEQ_LEN) and batch.mel_windows.shape == (WINDOWS, 40, 128)
        assert loaded.tokens == (batch.segment_ids > 0).sum()
        frames = batch.frame_index[batch.frame_index != NO_FRAME]
        assert len(frames) == len(np.unique(frames))
        seen.update(loaded.row_ids)
    state = batches.get_state()
    stream = ids(state["drawn"])
    assert seen + Counter(stream[number] for number in state["waiting"]) == Counter(stream)
    for name, size in SIZES.items():
        of_source = [i for i in stream if i[0] == name[0]]
        epochs = [of_source[k * size : (k + 1) * size] for k in range(3)]
        assert all(len(set(epoch)) == size for epoch in epochs) and epochs[0] != epochs[1]
    other = begin(seed=6)
    assert lines(other, 2) != lines(begin(), 2)


def test_an_epoch_is_heard_anew() -> None:
    heard = begin(mixture={"spoken": 1.0})
    digests = {batch["digest"] for batch in lines(heard, 40)}
    assert len(digests) == 40


@pytest.mark.parametrize(
    "changes", [{}, {"device_buffer": 2}, {"threads": 3, "buffer": 5}, {"micro_batches": 2}, {"mel": "device"}]
)
@pytest.mark.parametrize("seen", [0, 7])
def test_a_resumed_run_sees_the_same_batches(changes: dict[str, Any], seen: int) -> None:
    whole = begin(**changes)
    lines(whole, seen)
    state = json.loads(json.dumps(whole.get_state()))
    want = lines(whole, 4)
    resumed = begin(**changes)
    next(resumed)
    resumed.set_state(state)
    assert json.loads(json.dumps(resumed.get_state())) == state
    assert lines(resumed, 4) == want
    resumed.set_state(state)
    assert lines(resumed, 4) == want
    if "micro_batches" not in changes and "mel" not in changes:
        other = begin(threads=2, device_buffer=1)
        other.set_state(state)
        assert lines(other, 4) == want


def test_micro_batches_are_the_batches_that_follow() -> None:
    two, ones = next(begin(micro_batches=2)), begin()
    parts = [next(ones) for _ in range(2)]
    assert two.row_ids == parts[0].row_ids + parts[1].row_ids
    for number, part in enumerate(parts):
        jax.tree.map(lambda leaf, want, n=number: np.testing.assert_array_equal(leaf[n], want), two.batch, part.batch)


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_the_device_makes_the_same_mel(micro_batches: int) -> None:
    host, device = begin(micro_batches=micro_batches), begin(micro_batches=micro_batches, mel="device")
    for _ in range(2):
        want, got = next(host), next(device)
        assert want.row_ids == got.row_ids and want.audio_seconds == got.audio_seconds
        assert isinstance(got.batch.mel_windows, jax.Array)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), want.batch, got.batch)


def test_batches_go_where_they_are_wanted() -> None:
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for mel in ("host", "device"):
        config = dataclasses.replace(CONFIG, device_buffer=2, mel=mel)
        made = next(load_packed(frames_instead(sources()) if mel == "device" else sources(), config, GRID, place=place))
        assert all(leaf.sharding == place for leaf in jax.tree.leaves(made.batch))


def test_a_mixture_goes_by_weights_sizes_and_temperature() -> None:
    weights, sizes = {"a": 1.0, "b": 3.0}, {"a": 800, "b": 100, "c": 5}
    assert shares(weights, sizes, None) == {"a": 0.25, "b": 0.75}
    assert shares(weights, sizes, 1.0) == {"a": 800 / 1100, "b": 300 / 1100}
    flat = shares({"a": 1.0, "b": 1.0}, sizes, 3.0)
    assert flat["a"] / flat["b"] == pytest.approx(8 ** (1 / 3))
    counted = Counter(name[0] for name in ids(600))
    assert counted == {"s": 400, "w": 200}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixture": {}}, "the mixture names no source"),
        ({"mixture": {"spoken": 1.0, "sung": 1.0}}, "names 'sung', which has no rows; there are spoken, written"),
        ({"mixture": {"spoken": 0.0}}, "mixture.spoken is 0.0; a weight is positive"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"rows": 0}, "data: rows is 0; it is at least 1"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        begin(**changes)


@pytest.mark.parametrize("buffers", [{}, {"device_buffer": 2}])
def test_a_row_that_no_batch_holds_is_named(buffers: dict[str, int]) -> None:
    with pytest.raises(InputError, match=r"row \w\d+: takes \d+ LLM positions, a row of a batch has 20"):
        lines(begin(seq_len=20, **buffers), 20)
    with pytest.raises(InputError, match=r"row s\d+: needs \d+ encoder windows, a batch has 3"):
        lines(begin(windows=3, **buffers), 20)


def test_a_state_of_other_data_or_hosts_is_refused() -> None:
    state = begin().get_state()
    with pytest.raises(InputError, match="the data changed since the checkpoint: .*'spoken': 46.* are .*'spoken': 46}"):
        begin(mixture={"spoken": 1.0}).set_state(state)
    with pytest.raises(InputError, match=r"of host 0 of 1, this is host 1 of 2: .* data_pipelines\.hosts\.resharded"):
        begin(HostShard(1, 2)).set_state(state)
