"""Stages that the runs of a sweep have in common are trained once: `config.stages_dir` names a folder for them.

STAGES_DIR/KEY/        a finished stage: its curves and its model
STAGES_DIR/KEY.lock    held by the run that trains it; others wait for it

A key is a digest of all that a config says a stage's model comes from: model, data, the stage and those it starts from.
The same key and code give the same bits on the same machine, so that a run does not show who trained its stages, but in
its seconds. Other code wants another folder.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
from etils import epath
from filelock import FileLock, Timeout

from experiments.run.data import Run
from fac_jax.checkpoint.export import CHECKPOINTS
from fac_jax.io import is_local
from fac_jax.losses.base import Loss
from fac_jax.training.recipe import Recipe, start_of
from fac_jax.training.run_recipe import StageSource, trained_here
from fac_jax.training.stage import StageConfig
from fac_jax.types import InputError


def stage_keys(recipe: Recipe, data: str) -> dict[str, str]:
    """Returns the key of every stage by its name; `data` is a checksum of all that batches depend on."""
    keys: dict[str, str] = {}
    for stage in recipe.stages:
        starts = [start_of(recipe.stages, stage), stage.merge and stage.merge.start]
        made_of = {
            "model": changed(recipe.model),
            "initial": str(recipe.initial),
            **({"encoder": recipe.encoder} if recipe.encoder else {}),
            "data": data,
            "stage": changed(stage),
            "starts": [name and keys[name] for name in starts],
        }
        text = json.dumps(made_of, sort_keys=True, default=changed)
        keys[stage.name] = hashlib.sha256(text.encode()).hexdigest()[:24]
    return keys


def changed(values: Any) -> Any:
    """Returns a config without the values that are defaults, so that a new setting changes no key."""
    if not dataclasses.is_dataclass(values):
        return values
    every = {field.name: (getattr(values, field.name), field) for field in dataclasses.fields(values)}
    kind = {"kind": values.kind} if isinstance(values, Loss) else {}  # two losses can have the same fields
    return kind | {name: changed(value) for name, (value, field) in every.items() if value != field.default}


def stage_source(run: Run, recipe: Recipe) -> StageSource:
    """Returns how a run comes by its stages: with a `stages_dir` from other runs.

    Raises:
      InputError: a `stages_dir` for a run of several processes, or in a cloud store.
    """
    folder = run.config.stages_dir
    if not folder:
        return trained_here
    if jax.process_count() > 1:
        raise InputError("stages_dir is for runs of one process: leave it out")
    for path in (folder, run.workdir):
        if not is_local(path):
            raise InputError(f"stages_dir is for folders on a disk, and {path} is none: leave stages_dir out")
    data = json.dumps([changed(run.config.data), run.checksum()], default=changed)
    return SharedStages(Path(folder), stage_keys(recipe, data))


@dataclasses.dataclass(frozen=True)
class SharedStages:
    """Finished stages of many runs, in one folder, by the keys of a run's stages."""

    folder: Path
    keys: dict[str, str]

    @contextlib.contextmanager
    def __call__(self, stage: StageConfig, directory: epath.Path) -> Iterator[bool]:
        """Yields whether another run has trained the stage, which is then in `directory`; see `StageSource`.

        It waits for a run that trains the stage now. If there is none, the stage must be finished in `directory` when
        the block ends, and other runs get it.
        """
        there = self.folder / self.keys[stage.name]
        self.folder.mkdir(parents=True, exist_ok=True)
        with _held(FileLock(there.with_name(f"{there.name}.lock")), stage.name):
            if there.is_dir():
                _link(there, Path(directory))
                yield True
                return
            yield False
            _link(Path(directory), there)


@contextlib.contextmanager
def _held(lock: FileLock, name: str) -> Iterator[None]:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        print(f"stage {name} is trained by another run; waiting for it", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _link(source: Path, target: Path) -> None:
    """Links a stage's files to another folder, without its checkpoints; it replaces `target`."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.part")
    shutil.copytree(source, partial, copy_function=os.link, ignore=shutil.ignore_patterns(CHECKPOINTS))
    if target.exists():
        shutil.rmtree(target)
    partial.rename(target)
