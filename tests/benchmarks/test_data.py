"""Synthetic recordings and the measurement of loading; no time is asserted."""

import json

import numpy as np

from experiments.benchmarks import data
from experiments.benchmarks.data import Loading, data_figures
from fac_jax.audio.io import decode
from fac_jax.models.presets import preset


def test_synthetic_records_have_the_lengths_of_conversations() -> None:
    rows = data.records(40, units=6561)
    heard = [len(decode(row.messages[0].audio.data, row.id).wave) / 16_000 for row in rows]
    spoken = [len(row.messages[1].audio.tokens) / 25 for row in rows]
    for seconds in (heard, spoken):
        assert min(seconds) >= 2 and max(seconds) <= 30 and 5 < np.median(seconds) < 10
    assert [row.messages[1].text for row in rows] == [row.messages[1].text for row in data.records(40, 6561)]


def test_figures_of_loading(figures) -> None:
    loading = Loading(rows=2, seq_len=1024, batches=2, step_seconds=0.0)
    found = data_figures(preset("base"), loading)
    assert all(np.isfinite(value) for value in found.values()) and json.dumps(found)
    assert found["heard audio hours/hour/core"] < found["audio hours/hour/core"]
    assert 0 <= found["share of step time waiting"] <= 1 and 0.5 < found["window fill"] <= 1
    figures.at_least("packing fill of made-up conversations", found["packing fill"], 0.95)
