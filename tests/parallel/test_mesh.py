"""A config's mesh, and batches whose parts keep their frames to themselves."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import packed_run
from mesh_run import layout
from toy_training import MODEL, make_batch

from data_pipelines.loading.loader import Shares
from experiments.configs import quickstart
from experiments.run.config import resolve_config
from fac_jax.batching.collate import side_by_side
from fac_jax.models.speech_embedder import _pick
from fac_jax.parallel.batches import host_shard, place_batch
from fac_jax.parallel.rules import PRESETS
from fac_jax.types import NO_FRAME


def test_a_config_asks_for_a_mesh_by_its_keys() -> None:
    config: Any = quickstart.get_config()
    assert resolve_config(config).layout() is None
    config.mesh.fsdp, config.mesh.tensor, config.rules = 4, 2, "fsdp_tensor"
    found = resolve_config(config).layout()
    assert found is not None and found.rules == PRESETS["fsdp_tensor"]
    assert {axis: size for axis, size in found.mesh.shape.items() if size > 1} == {"fsdp": 4, "tensor": 2}
    again = resolve_config(config).layout()
    assert found == again and hash(found) == hash(again)  # one compilation for both


def test_a_part_reads_only_its_own_windows() -> None:
    batches = packed_run.begin(Shares(parts=2))
    for _ in range(3):
        batch: Any = next(batches).batch
        assert batch.parts == 2 and batch.text_ids.shape == (packed_run.BUDGET.rows, packed_run.BUDGET.seq_len)
        frames = len(batch.mel_windows) * (packed_run.GRID.n_window // 2)
        for part, index in enumerate(np.split(batch.frame_index, 2)):
            used = index[index != NO_FRAME]
            assert used.size and used.min() >= part * frames // 2 and used.max() < (part + 1) * frames // 2


def test_parts_are_picked_as_from_the_whole() -> None:
    parts = [make_batch(seed, rows=2) for seed in (0, 1)]
    whole = side_by_side(parts)
    count = len(whole.mel_windows) * MODEL.audio.frames
    frames = np.random.default_rng(0).standard_normal((count, 3)).astype(np.float32)
    seen = (whole.frame_index != NO_FRAME)[..., None]
    one, two = (np.where(seen, _pick(jnp.asarray(frames), whole.frame_index, n), 0) for n in (1, 2))
    np.testing.assert_array_equal(one, two)
    own = [np.take(half, part.frame_index, axis=0) for half, part in zip(np.split(frames, 2), parts, strict=True)]
    np.testing.assert_array_equal(one, np.where(seen, np.concatenate(own), 0))


def test_a_placed_batch_is_the_same_in_shards() -> None:
    on, batch = layout("4x2"), make_batch(0, rows=8)
    placed = place_batch(batch, on)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), batch)
    assert placed.text_ids.sharding.shard_shape(placed.text_ids.shape)[0] == 2
    stacked = place_batch(jax.tree.map(lambda *leaves: np.stack(leaves), batch, batch), on)
    assert stacked.labels.sharding.shard_shape(stacked.labels.shape)[:2] == (2, 2)
    assert dataclasses.astuple(host_shard(on)) == (0, 1)
