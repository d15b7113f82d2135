"""From a config to a run: everything that is checked and made before training starts.

WORKDIR/config.json  the resolved config
WORKDIR/codec/       that of the model to start from, or of the data
WORKDIR/tokenizer/   that of the model to start from, or of the data
"""

import contextlib
import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from etils import epath
from ml_collections import ConfigDict

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.paths import data_path, local_path
from data_pipelines.prepare.settings import Settings
from data_pipelines.worlds.build import build
from data_pipelines.worlds.storage import read_rows
from data_pipelines.worlds.views import VIEWS
from experiments.run.assets import check_fits, copy_initial_assets, fitted, make_codec, make_tokenizer
from experiments.run.config import check_layout, resolve_config
from experiments.run.data import Run
from experiments.run.ears import check_encoder, encoder_path
from experiments.run.hearing import heard_in
from experiments.run.lock import CONFIG_FILE, lock_config
from experiments.run.schema import RunConfig, SetConfig
from experiments.run.sets import ROWS_FILE, RecordSet, lock_rows, make_set, write_quarantine
from experiments.run.shared_stages import stage_source
from fac_jax.audio.remarks import FILE as HEARD
from fac_jax.checkpoint.export import CODEC, MODEL, is_model, load_params, resolve
from fac_jax.io import copy, is_local
from fac_jax.parallel.hosts import first_goes_first, is_first, several
from fac_jax.training.recipe import Recipe, check_initial
from fac_jax.training.run_recipe import run_recipe
from fac_jax.types import InputError, Params

TOY_WORLD: Final = "toy_world"
HELD_OUT: Final = "dev"  # split of a toy world that a stage is evaluated on
TOKENIZER_FOLDER: Final = "tokenizer"


def assets(run: Run) -> dict[str, epath.Path]:
    """Returns what goes into every finished model with its parameters, by name."""
    found = {name: run.workdir / name for name in (CODEC, HEARD) if (run.workdir / name).exists()}
    return {file.name: file for file in (run.workdir / TOKENIZER_FOLDER).iterdir()} | found


def recipe_of(run: Run) -> Recipe:
    """Returns the recipe of a run."""
    config = run.config
    initial = None if config.init_from is None else resolve(config.init_from)
    return Recipe(
        model=config.model,
        stages=config.stages,
        initial=initial,
        encoder=config.encoder_from,
        encoder_path=encoder_path,
        layout=run.layout,
        attention=config.attention,
        trackers=config.trackers,
        evals=config.evals,
    )


def open_workdir(path: epath.PathLike) -> epath.Path:
    """Returns the folder of a run, which may lie in a cloud store and need not exist.

    Raises:
      InputError: the store cannot be reached, or the package that reads it is not installed.
    """
    if not is_local(path):
        data_path(path)
    return epath.Path(path)


def start(
    config: ConfigDict | Mapping[str, Any],
    workdir: epath.PathLike,
    data_dir: epath.PathLike,
    eval_split: str | None = None,
) -> Run:
    """Checks a config, locks the workdir for it, and makes everything that comes before training.

    Of several hosts all see `data_dir`, on a disk, under one name. `eval_split` takes the place of the config's splits.

    Raises:
      InputError: a bad config; a workdir that cannot be reached or holds another config; a `data_dir` in a cloud
        store; a mesh that does not divide the batches; rows that cannot be read or trained on.
    """
    workdir, data_dir = (
        open_workdir(workdir),
        local_path(data_dir, "prepared rows are read from a disk; give --data_dir"),
    )
    found = resolve_config(config)
    layout = found.layout()
    if layout is None and several():
        raise InputError("several processes train on one mesh, and the config has none: set --config.mesh.fsdp=-1")
    check_layout(found, layout)
    check_initial(found.stages, found.init_from)
    if found.encoder_from is not None and not is_model(workdir / found.stages[0].name / MODEL):
        check_encoder(found.encoder_from, found.model)
    for name, one in found.data.sets.items():
        one.source(f"data.sets.{name}")
        one.eval_source(f"data.sets.{name}")
    with first_goes_first("data"), _taken_back(workdir):
        lock_config(workdir, found.tree(), with_new_keys)
        run = _made(found, workdir, data_dir, eval_split)
        lock_rows(run.sets.values(), workdir)
        if is_first():
            heard = heard_in(run)
            if heard is not None:
                heard.save(workdir / HEARD)
            _report(run)
    return dataclasses.replace(run, layout=layout)


def with_new_keys(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the config of a workdir with the defaults of keys that are newer; as it is, if it means nothing now."""
    try:
        return resolve_config(stored).tree()
    except InputError:
        return stored


@contextlib.contextmanager
def _taken_back(workdir: epath.Path) -> Iterator[None]:
    """Removes what a first start has bound the workdir to if it is refused: the mended config may have the workdir."""
    bound = [workdir / name for name in (CONFIG_FILE, ROWS_FILE, TOKENIZER_FOLDER, CODEC, HEARD)]
    first = not any(path.exists() for path in bound)
    try:
        yield
    except (InputError, OSError):
        if first and is_first():
            for path in bound:
                if path.is_dir():
                    path.rmtree()
                else:
                    path.unlink(missing_ok=True)
        raise


def used_sets(config: RunConfig, world: Path | None, eval_split: str | None = None) -> dict[str, SetConfig]:
    """Returns the sets that a run trains or is evaluated on, those of the toy world in `world` included."""
    names = {name for stage in config.stages if stage.steps for name in stage.data.sources} | set(config.evals.sets)
    found = {name: one for name, one in config.data.sets.items() if name in names}
    if eval_split is not None:
        split = {name: one for name, one in found.items() if one.eval_split is not None}
        found |= {name: dataclasses.replace(one, eval_split=eval_split) for name, one in split.items()}
    if world is not None:
        tasks = sorted(name for name in names if name in VIEWS and name not in found)
        found |= {name: _task(world, name, eval_split or HELD_OUT, config.data.waves) for name in tasks}
    return found


def _task(world: Path, name: str, eval_split: str, waves: WaveAugmentConfig) -> SetConfig:
    stored = VIEWS[name].splits.get(eval_split)
    has_rows = stored is not None and any(VIEWS[name].records(read_rows(world, stored)))
    held_out = eval_split if has_rows else None
    used = waves if VIEWS[name].augmented else WaveAugmentConfig()
    return SetConfig(str(world), TOY_WORLD, view=name, split="train", eval_split=held_out, waves=used)


def _made(config: RunConfig, workdir: epath.Path, data_dir: Path, eval_split: str | None) -> Run:
    """Speaks, prepares and measures the rows, or finds them, and fits a preset to them."""
    data, initial = config.data, None if config.init_from is None else resolve(config.init_from)
    name = hashlib.sha256(str(workdir).encode()).hexdigest()[:16]
    local = Path(workdir) if is_local(workdir) else data_dir / "assets" / name
    if not is_local(workdir) and is_first():
        _download(workdir, local)
    if initial:
        copy_initial_assets(initial, local)
    world = None if data.world is None else build(data.world, data.pairs, data_dir, data.processes)
    sets = used_sets(config, world, eval_split)
    sources = [one.source(f"data.sets.{name}") for name, one in sorted(sets.items())]
    tokenizer = make_tokenizer(data, sources, initial, local / TOKENIZER_FOLDER)
    codec = make_codec(data, sources, initial, local / CODEC)
    model = config.model
    if initial:
        check_fits(model, tokenizer, codec, initial)
    else:
        model = fitted(model, tokenizer, model.units if codec is None else codec.units)
    settings = Settings(
        context=model.context,
        units=model.units,
        group_size=model.group_size,
        codec=None if codec is None else str(local / CODEC),
        user_audio=model.user_audio,
        tokenizer=str(local / TOKENIZER_FOLDER),
    )
    made: dict[str, RecordSet] = {
        name: make_set(name, one, settings, model, data_dir, data.processes) for name, one in sorted(sets.items())
    }
    if not is_local(workdir) and is_first():
        copy(local, workdir)
    return Run(dataclasses.replace(config, model=model), workdir, made, tokenizer, codec, None, world, data_dir)


def _download(workdir: epath.Path, local: Path) -> None:
    """Makes `local` hold the tokenizer and the codec of a workdir in a cloud store, and nothing else."""
    shutil.rmtree(local, ignore_errors=True)
    for name in (TOKENIZER_FOLDER, CODEC):
        if (workdir / name).exists():
            copy(workdir / name, local / name)


def _report(run: Run) -> None:
    """Writes down and prints which rows are not trained on."""
    rejected = {name: one.train.rejected() for name, one in run.sets.items()}
    write_quarantine(run.workdir, rejected)
    for one in run.sets.values():
        print(one.summary(), file=sys.stderr)
    for stage in run.config.stages:
        if not stage.steps:
            continue
        budget = run.budget(stage)
        for name in stage.data.sources:
            for pairs in {stage.loss.pairs, stage.loss.pairs and not stage.loss.replays}:
                rejected[name] += run.sets[name].train.misfits(stage.name, pairs, budget)
    file = write_quarantine(run.workdir, rejected)
    count = sum(map(len, rejected.values()))
    if count:
        print(f"not trained on: {count} row{'s' * (count != 1)}, in {file}", file=sys.stderr)


def finished_run(workdir: epath.Path, data_dir: str | None, checkpoint: str | None) -> tuple[Run, Params]:
    """Opens a run to ask its model: the run, and the parameters of a checkpoint, of its last model if that is None.

    Data sets are those of `data_dir`; if that is None, of WORKDIR/data where it exists, else of runs/data.

    Raises:
      InputError: the folder holds no run or no such model; or as `start` and `load_params`.
    """
    config, own = workdir / CONFIG_FILE, workdir / "data"
    if not config.exists():
        raise InputError(f"--workdir={workdir}: holds no run: {config.name} is missing")
    model = resolve(checkpoint or workdir)  # before data are made
    run = start(json.loads(config.read_text()), workdir, data_dir or (own if own.exists() else "runs/data"))
    params, _ = load_params(model, recipe_of(run).abstract())
    return run, params


def train(run: Run, recipe: Recipe, **options: Any) -> epath.Path:
    """Trains the stages of a run that are not finished, or takes them from other runs; returns the last model.

    Raises as `run_recipe` and `stage_source`.
    """
    return run_recipe(recipe, run.workdir, run, assets(run), source=stage_source(run, recipe), **options)
