"""Packed batches as training gets them: whole epochs, exact resume, static shapes, mixtures, hosts."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from packed_run import BUDGET, GRID, SIZES, begin, digest, ids, line, lines, mixture

from data_pipelines.loading.loader import Shares, WorkerConfig
from data_pipelines.loading.sources import mixture_shares, one_epoch
from fac_jax.types import NO_FRAME, InputError


def test_every_row_comes_once_an_epoch_and_shapes_are_static() -> None:
    batches, seen = begin(), Counter[str]()
    while seen.total() < 3 * 69:
        loaded = next(batches)
        batch: Any = loaded.batch
        assert batch.text_ids.shape == (BUDGET.rows, BUDGET.seq_len)
        assert batch.mel_windows.shape == (BUDGET.windows, 2 * GRID.n_window, 128)
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
    assert lines(begin(stream=mixture(seed=6)), 2) != lines(begin(), 2)


def test_an_epoch_makes_items_anew() -> None:
    batches = begin(stream=mixture({"spoken": 1.0}))
    assert len({batch["digest"] for batch in lines(batches, 20)}) == 20


@pytest.mark.parametrize("config", [WorkerConfig(), WorkerConfig(threads=3, buffer=5)])
@pytest.mark.parametrize("seen", [0, 5])
def test_a_resumed_run_sees_the_same_batches(config: WorkerConfig, seen: int) -> None:
    whole = begin(config=config)
    lines(whole, seen)
    state = json.loads(json.dumps(whole.get_state()))
    want = lines(whole, 4)
    resumed = begin(config=config)
    next(resumed)
    resumed.set_state(state)
    assert json.loads(json.dumps(resumed.get_state())) == state
    assert lines(resumed, 4) == want


def test_rows_do_not_depend_on_hosts_and_micro_batches() -> None:
    """Two hosts bring the halves of the rows that one host brings; two micro-batches are its halves too."""
    whole: Any = next(begin()).batch
    hosts = [next(begin(Shares(hosts=2, host=host))) for host in range(2)]
    micro: Any = next(begin(Shares(micro_batches=2))).batch
    half = BUDGET.rows // 2
    for name in ("text_ids", "kind", "segment_ids", "positions", "labels", "speech_labels", "has_waveform"):
        want = getattr(whole, name)
        both = np.concatenate([getattr(host.batch, name) for host in hosts])
        np.testing.assert_array_equal(both, want)
        np.testing.assert_array_equal(getattr(micro, name).reshape(want.shape), want)
    assert micro.text_ids.shape[:2] == (2, half)


def test_a_run_resumes_with_another_number_of_hosts() -> None:
    one = begin()
    lines(one, 3)
    state = one.get_state()
    want = next(one).row_ids
    found = []
    for host in range(4):
        batches = begin(Shares(hosts=4, host=host))
        batches.set_state(state)
        found += next(batches).row_ids
    assert found == want


def test_parts_hold_the_same_rows_with_their_own_windows() -> None:
    whole: Any = next(begin()).batch
    parts: Any = next(begin(Shares(parts=2))).batch
    assert parts.parts == 2
    np.testing.assert_array_equal(parts.labels, whole.labels)
    assert parts.mel_windows.shape == whole.mel_windows.shape
    half, n = BUDGET.windows // 2, GRID.n_window // 2
    for row, index in enumerate(parts.frame_index):
        frames = index[index != NO_FRAME]
        assert ((frames // n >= half) == (row >= BUDGET.rows // 2)).all()
    picked = [
        batch.mel_windows.reshape(-1, 4, 128)[batch.frame_index[batch.frame_index != NO_FRAME]]
        for batch in (whole, parts)
    ]
    np.testing.assert_array_equal(*picked)


def test_one_epoch_has_every_row_once_and_ends() -> None:
    source = mixture().sources["spoken"]
    batches = begin(stream=one_epoch("spoken", source))
    seen = [loaded.row_ids for loaded in batches]
    assert sorted(name for names in seen for name in names) == sorted(row.id for row in source.rows)


def test_a_mixture_goes_by_weights_sizes_and_temperature() -> None:
    weights, sizes = {"a": 1.0, "b": 3.0, "c": 0.0}, {"a": 800, "b": 100, "c": 5}
    assert mixture_shares(weights, sizes, None) == {"a": 0.25, "b": 0.75}
    assert mixture_shares(weights, sizes, 1.0) == {"a": 800 / 1100, "b": 300 / 1100}
    flat = mixture_shares({"a": 1.0, "b": 1.0}, sizes, 3.0)
    assert flat["a"] / flat["b"] == pytest.approx(8 ** (1 / 3))
    assert Counter(name[0] for name in ids(600)) == {"s": 400, "w": 200}


@pytest.mark.parametrize(
    ("weights", "temperature", "message"),
    [
        ({}, None, "the mixture names no source"),
        ({"spoken": 0.0}, None, "the mixture names no source"),
        ({"spoken": 1.0, "sung": 1.0}, None, "names 'sung', which has no rows; there are spoken, written"),
        ({"spoken": -1.0}, None, "mixture.spoken is -1.0; a weight is a finite number, at least 0"),
        ({"spoken": 1.0}, 0.0, "temperature is 0.0"),
    ],
)
def test_a_mixture_that_cannot_be_is_refused(weights: Any, temperature: float | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mixture_shares(weights, SIZES, temperature)


def test_a_row_that_no_batch_holds_is_named() -> None:
    with pytest.raises(InputError, match=r"row \d+ of \w+ takes \d+ LLM positions and \d+ encoder windows; .* 20"):
        lines(begin(seq_len=20), 20)


def test_a_state_of_other_data_is_refused() -> None:
    state = begin().get_state()
    with pytest.raises(InputError, match="the data changed since the checkpoint: .*'spoken': 46.* are .*'spoken': 46}"):
        begin(stream=mixture({"spoken": 1.0})).set_state(state)


def test_a_batch_reports_its_items() -> None:
    loaded = next(begin())
    assert line(loaded) == {"ids": loaded.row_ids, "digest": digest(loaded)}
    assert loaded.audio_seconds > 0 and loaded.stats.positions.sum() == loaded.tokens
