"""A toy stage whose rows are shared by hosts, as a program: one process of a run, or the only one.

python tests/support/hosts_run.py --workdir DIR --mesh fsdp=4,tensor=2 [--cluster flags --coordinator .. --process 0]
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from mesh_run import DENSE, OPTIMIZER, ROWS
from toy_training import ToyData, ToyLoaded, make_batch, stage

from fac_jax import cli
from fac_jax.losses import Sft
from fac_jax.parallel.batches import HostShard, host_shard
from fac_jax.parallel.hosts import join
from fac_jax.parallel.mesh import make_layout
from fac_jax.training.recipe import Recipe, run_recipe
from fac_jax.types import NO_FRAME

STEPS, EVERY = 12, 3
STAGE = stage("text", steps=STEPS, optimizer=OPTIMIZER, checkpoint_every=EVERY, loss=Sft(speech_weight=0.0), keep=10)


class SharedRows(ToyData):
    """One host's rows of the batches of `ToyData`, with their windows."""

    def __init__(self, shard: HostShard, pause: float) -> None:
        super().__init__(pause=pause)
        self._shard = shard

    def __next__(self) -> ToyLoaded:
        loaded = super().__next__()
        batch = make_batch((self._next - 1) % 4, rows=ROWS)
        size = ROWS // self._shard.hosts
        mine = slice(self._shard.host * size, (self._shard.host + 1) * size)
        batch = jax.tree.map(lambda leaf: leaf[mine], batch)
        first = mine.start * DENSE.audio.frames
        index = np.where(batch.frame_index == NO_FRAME, NO_FRAME, batch.frame_index - first)
        tokens = int(batch.segment_ids.sum())
        seconds = loaded.audio_seconds / self._shard.hosts
        return dataclasses.replace(loaded, batch=batch.replace(frame_index=index), tokens=tokens, audio_seconds=seconds)


def main() -> None:
    options: Any = flags.FLAGS
    join(options.cluster, options.coordinator, options.processes, options.process)
    on = make_layout({axis: int(size) for axis, size in (part.split("=") for part in options.mesh)})
    data = SharedRows(host_shard(on), options.pause)
    run_recipe(Recipe(DENSE, (STAGE,), layout=on), Path(options.workdir), lambda *_: data, {})


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_list("mesh", [], "Axes of the mesh and their sizes.")
    flags.DEFINE_string("cluster", "none", "See experiments.train.")
    flags.DEFINE_string("coordinator", None, "See experiments.train.")
    flags.DEFINE_integer("processes", None, "See experiments.train.")
    flags.DEFINE_integer("process", None, "See experiments.train.")
    flags.DEFINE_float("pause", 0.0, "Seconds that a batch takes.")
    cli.run(main)
