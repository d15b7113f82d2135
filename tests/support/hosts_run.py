"""A toy stage whose rows are shared by hosts, as a program: one process of a run, or the only one.

python tests/support/hosts_run.py --workdir DIR --mesh fsdp=4,tensor=2 [--cluster flags --coordinator .. --process 0]
"""

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from absl import flags
from etils import epath
from mesh_run import DENSE, OPTIMIZER, ROWS
from toy_training import ToyData, ToyRun, loaded, make_batch, stage

from fac_jax import cli
from fac_jax.batching.loaded import Loaded
from fac_jax.losses import Sft
from fac_jax.parallel.batches import HostShard, host_shard
from fac_jax.parallel.hosts import join
from fac_jax.parallel.mesh import make_layout
from fac_jax.training.mesh_data import MeshData
from fac_jax.training.recipe import Recipe
from fac_jax.training.run_recipe import run_recipe
from fac_jax.types import NO_FRAME

STEPS, EVERY = 12, 3
STAGE = stage("text", steps=STEPS, optimizer=OPTIMIZER, checkpoint_every=EVERY, loss=Sft(speech_weight=0.0), keep=10)


class SharedRows(ToyData):
    """One host's rows of the batches of `ToyData`, with their windows."""

    def __init__(self, shard: HostShard, pause: float) -> None:
        super().__init__()
        self._shard, self._pause = shard, pause

    def make(self, number: int) -> Loaded:
        time.sleep(self._pause)
        size = ROWS // self._shard.hosts
        mine = slice(self._shard.host * size, (self._shard.host + 1) * size)
        batch = jax.tree.map(lambda leaf: leaf[mine], make_batch(number % 4, rows=ROWS))
        first = mine.start * DENSE.audio.frames
        index = np.where(batch.frame_index == NO_FRAME, NO_FRAME, batch.frame_index - first)
        found = loaded(batch.replace(frame_index=index), number, size)
        return dataclasses.replace(found, audio_seconds=found.audio_seconds / self._shard.hosts)


def run(workdir: epath.PathLike, mesh: dict[str, int], pause: float = 0.0) -> None:
    """Trains on a mesh, from where the run in the workdir stopped; a batch takes `pause` seconds."""
    on = make_layout(mesh)
    data = ToyRun(lambda _: MeshData(SharedRows(host_shard(on), pause), on))
    run_recipe(Recipe(DENSE, (STAGE,), layout=on), epath.Path(workdir), data, {})


def main() -> None:
    options: Any = flags.FLAGS
    join(options.cluster, options.coordinator, options.processes, options.process)
    mesh = {axis: int(size) for axis, size in (part.split("=") for part in options.mesh)}
    run(options.workdir, mesh, options.pause)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of the run.", required=True)
    flags.DEFINE_list("mesh", [], "Axes of the mesh and their sizes.")
    flags.DEFINE_string("cluster", "none", "See experiments.train.")
    flags.DEFINE_string("coordinator", None, "See experiments.train.")
    flags.DEFINE_integer("processes", None, "See experiments.train.")
    flags.DEFINE_integer("process", None, "See experiments.train.")
    flags.DEFINE_float("pause", 0.0, "Seconds that a batch takes.")
    cli.run(main, cli.RESUMES)
