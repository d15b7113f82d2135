import dataclasses
import json
from collections import Counter
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from toy_world import LoudnessCodec, make_model, make_tokenizer

from data_pipelines.augment.spec import AugmentConfig
from data_pipelines.loading.counts import Loaded, LoadingConfig, load, one_epoch
from data_pipelines.worlds.schema import Row
from data_pipelines.worlds.views import conversations
from fac_jax.batching.collate import budget
from fac_jax.batching.conversation import corpus
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example, encode
from fac_jax.models.config import ModelConfig
from fac_jax.types import InputError, Kind

COUNTS = {"s2s": 3, "t2s": 2, "text_qa": 1}


@dataclasses.dataclass(frozen=True)
class Data:
    tasks: dict[str, list[Example]]
    model: ModelConfig
    config: LoadingConfig


@pytest.fixture(scope="module")
def data(toy_rows: dict[str, list[Row]], tmp_path_factory: pytest.TempPathFactory) -> Data:
    tokenizer = make_tokenizer(tmp_path_factory.mktemp("tokenizer"))
    model = make_model(tokenizer)
    sources = {"s2s": "train", "t2s": "train", "text_qa": "text"}
    found = {task: conversations(toy_rows[split], task) for task, split in sources.items()}
    assert "say: " in " ".join(corpus(found))
    filled = add_features(found, LoudnessCodec())
    tasks = {task: [encode(c, tokenizer, model) for c in filled[task]] for task in sources}
    seq_len, windows = budget(tasks, COUNTS, model)
    return Data(tasks, model, LoadingConfig(COUNTS, seq_len, windows, seed=3, augment=AugmentConfig()))


def take(data: Data, number: int, **changes: object) -> list[Loaded]:
    batches = load(data.tasks, dataclasses.replace(data.config, **changes), data.model)
    return [next(batches) for _ in range(number)]


def assert_same(a: Sequence[Loaded], b: Sequence[Loaded]) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.row_ids == y.row_ids
        jax.tree.map(np.testing.assert_array_equal, x.batch, y.batch)


def test_a_batch_holds_its_counts_and_static_shapes(data: Data) -> None:
    for loaded in take(data, 12):
        assert Counter(name.rpartition(":")[2] for name in loaded.row_ids) == COUNTS
        batch = loaded.batch
        assert batch.text_ids.shape == (6, data.config.seq_len)
        assert batch.mel_windows.shape == (data.config.windows, 40, 128)
        assert loaded.tokens == (batch.segment_ids > 0).sum()
        delay = 2 * 3 + 2 * 2  # groups of speech bos of the five spoken replies
        groups = (batch.kind == Kind.SPEECH).sum() + (batch.kind == Kind.JOINT).sum() - delay
        assert groups / 5 - 10 * 0.2 < loaded.audio_seconds <= groups / 5


def test_the_same_seed_gives_the_same_batches(data: Data) -> None:
    assert_same(take(data, 5), take(data, 5))
    assert [x.row_ids for x in take(data, 5)] != [x.row_ids for x in take(data, 5, seed=4)]


def test_every_epoch_has_all_rows_in_another_order_and_other_augmentation(data: Data) -> None:
    rows = len(data.tasks["s2s"])
    config = {"counts": {"s2s": 1}}
    found = take(data, 3 * rows, **config)
    epochs = [found[i * rows : (i + 1) * rows] for i in range(3)]
    orders = [[x.row_ids[0] for x in epoch] for epoch in epochs]
    assert all(sorted(order) == sorted(e.id for e in data.tasks["s2s"]) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    heard = [next(x.batch.mel_windows for x in epoch if x.row_ids[0] == orders[0][0]) for epoch in epochs]
    assert np.abs(heard[0] - heard[1]).max() > 0.01 < np.abs(heard[1] - heard[2]).max()
    plain = take(data, 2 * rows, augment=None, **config)
    twice = [x.batch.mel_windows for x in plain if x.row_ids[0] == orders[0][0]]
    np.testing.assert_array_equal(*twice)


@pytest.mark.parametrize("seen", [0, 1, 7, 23])
def test_a_resumed_run_sees_the_same_batches(data: Data, seen: int) -> None:
    whole = load(data.tasks, data.config, data.model)
    for _ in range(seen):
        next(whole)
    state = json.loads(json.dumps(whole.get_state()))
    want = [next(whole) for _ in range(6)]
    resumed = load(data.tasks, data.config, data.model)
    next(resumed)
    resumed.set_state(state)
    assert_same([next(resumed) for _ in range(6)], want)


def test_an_evaluation_epoch_has_every_row_once_and_pads_the_last_batch(data: Data) -> None:
    examples = data.tasks["s2s"]
    batches = list(one_epoch(examples, 4, data.config.seq_len, 16, data.model))
    assert [name for x in batches for name in x.row_ids] == [e.id for e in examples]
    assert len({x.batch.mel_windows.shape for x in batches}) == 1
    last = batches[-1]
    assert len(last.row_ids) == (len(examples) - 1) % 4 + 1
    assert not last.batch.segment_ids[len(last.row_ids) :].any()


def test_a_mixture_that_cannot_be_is_refused(data: Data) -> None:
    with pytest.raises(InputError, match="no examples of the task 'asr' that the mixture names; there are s2s, t2s"):
        load(data.tasks, dataclasses.replace(data.config, counts={"asr": 1}), data.model)
    for counts in ({}, {"s2s": 0}):
        with pytest.raises(InputError, match="a mixture needs at least one row"):
            load(data.tasks, dataclasses.replace(data.config, counts=counts), data.model)
    with pytest.raises(InputError, match="encoder windows, its budget is 1"):
        take(data, 1, windows=1)
