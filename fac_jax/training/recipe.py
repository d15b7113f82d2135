"""A recipe: a model, the stages that train it, and what each of them starts from (`training/run_recipe.py` runs it)."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from etils import epath
from flax import traverse_util

from fac_jax.checkpoint.export import MODEL, load_config, load_params
from fac_jax.checkpoint.lazy import lazy_params
from fac_jax.checkpoint.release.encoder import in_place_of, whisper_params
from fac_jax.models.audio_encoder import FEATURE_PARAMS
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import init_params, with_beside
from fac_jax.parallel.kernels import Attention
from fac_jax.parallel.mesh import Layout
from fac_jax.training.base import quantised
from fac_jax.training.evals import EvalConfig
from fac_jax.training.merge import choose_alphas, merge
from fac_jax.training.optimizer import factors
from fac_jax.training.program import abstract_params, shardings
from fac_jax.training.rounding import check_master
from fac_jax.training.stage import StageConfig
from fac_jax.training.trackers import DEFAULT
from fac_jax.training.trainable import SEP, split
from fac_jax.types import InputError, Params


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is trained and how.

    Attributes:
      initial: model that the first stage starts from; None for fresh parameters.
      encoder: name of a Whisper whose encoder takes the place of a fresh one; None for none.
      encoder_path: finds its files, when the first stage starts.
      layout: mesh that all stages train on; None for one device.
      attention: that they train with (`parallel/kernels.py`).
      trackers: that their curves go to (`training/trackers.py`).
      evals: evaluation while a stage trains.
    """

    model: ModelConfig
    stages: tuple[StageConfig, ...]
    initial: epath.Path | None = None
    encoder: str | None = None
    encoder_path: Callable[[str], Path] = Path
    layout: Layout | None = None
    attention: Attention = "auto"
    trackers: tuple[str, ...] = DEFAULT
    evals: EvalConfig = EvalConfig()

    def init_params(self, key: jax.Array) -> Params:
        """Returns fresh parameters."""
        return init_params(self.model, key)

    def abstract(self) -> Params:
        """Returns the shapes of all parameters, with their shardings on a mesh."""
        return abstract_params(self.model, self.layout)

    @property
    def names(self) -> list[str]:
        """Returns the names of the stages."""
        return [stage.name for stage in self.stages]


def check_starts(stages: Sequence[StageConfig]) -> None:
    """Checks that every stage starts from, and merges with, a stage before it or the model that the recipe starts from.

    Raises:
      InputError: it does not, or two stages have one name.
    """
    before: list[str] = []
    for stage in stages:
        if stage.name in before:
            raise InputError(f"two stages have the same name, {stage.name}")
        if stage.start_from is not None and stage.start_from not in before:
            raise InputError(f"stage {stage.name} starts from {stage.start_from}, which is no stage before it")
        if stage.merge is not None and stage.merge.start not in (None, *before):
            raise InputError(f"stage {stage.name} merges with {stage.merge.start}, which is no stage before it")
        before.append(stage.name)


def check_initial(stages: Sequence[StageConfig], initial: object) -> None:
    """Checks that there is a model that the recipe starts from, where a stage merges with it.

    Raises:
      InputError: there is none (`initial` is None).
    """
    for stage in stages:
        if stage.merge is not None and stage.merge.start is None and initial is None:
            raise InputError(
                f"stage {stage.name} merges with the model that the recipe starts from, and there is none: set "
                f"model.init_from, or stages.{stage.name}.merge.start to an earlier stage"
            )


def check_parameters(model: ModelConfig, stages: Sequence[StageConfig], layout: Layout | None) -> None:
    """Checks what stages, and the mesh, ask of the parameters of a model, from their shapes alone.

    Raises:
      InputError: a pattern of `trainable` or of a merge matches no parameter, an alpha is not in [0, 1], parameters
        cannot train in their dtype, or the mesh does not divide them; names the stage or the parameter.
    """
    paths = list(traverse_util.flatten_dict(abstract_params(model, layout), sep=SEP))
    for stage in stages:
        try:
            if stage.merge is not None:
                choose_alphas(paths, stage.merge.alphas)
            if stage.steps:
                params = quantised(abstract_params(model, layout, stage.lora), stage.base, stage.patterns)
                trainable = split(params, stage.patterns)[0]
                check_master(trainable, stage.optimizer.rounding)
                factors(trainable, stage.optimizer.factors())
                _check_frozen(trainable, stage)
        except InputError as error:
            raise InputError(f"stages.{stage.name}: {error}") from None


def _check_frozen(trainable: Params, stage: StageConfig) -> None:
    paths = traverse_util.flatten_dict(trainable, sep=SEP)
    trained = next((path for path in paths if re.match(FEATURE_PARAMS, path)), None)
    if stage.data.feature_copies and trained:
        raise InputError(
            f"data.feature_copies stores what the encoder gives, and {trained} trains: set trainable to what leaves it "
            f"out, such as (r'(?!{FEATURE_PARAMS})',)"
        )


def start_of(stages: Sequence[StageConfig], stage: StageConfig) -> str | None:
    """Returns the name of the stage that another one starts from; None for the first."""
    names = [one.name for one in stages]
    order = names.index(stage.name)
    return stage.start_from or (names[order - 1] if order else None)


def start_params(recipe: Recipe, stage: StageConfig, workdir: epath.Path) -> Params:
    """Returns the parameters that a stage starts from, merged if it merges.

    Those of a base in fewer bits are read when they are asked for (`checkpoint.lazy`): as they are, they may not fit.

    Raises:
      InputError: they are those of a model that is not there, or that has another shape.
    """
    start = start_of(recipe.stages, stage)
    folder = workdir / start / MODEL if start else recipe.initial
    if folder is not None and stage.base.changes and stage.merge is None:
        params = lazy_params(folder, recipe.abstract())
    elif folder is not None:
        params = _load(folder, recipe)
    else:
        draw = recipe.init_params
        if recipe.layout is not None:
            draw = jax.jit(draw, out_shardings=shardings(recipe.abstract()))
        params = draw(jax.random.key(stage.seed))
        if recipe.encoder is not None:
            given = whisper_params(recipe.encoder_path(recipe.encoder), recipe.model)
            params = in_place_of(params, given)
    if stage.merge is None:
        return params
    kept = recipe.initial if stage.merge.start is None else workdir / stage.merge.start / MODEL
    assert kept is not None  # `check_initial`
    return merge(params, _load(kept, recipe), stage.merge.alphas)


def _load(folder: epath.Path, recipe: Recipe) -> Params:
    expected = recipe.abstract()
    stored = expected
    if load_config(folder).duplex is None:  # a duplex model can start from a half-duplex one
        stored = {name: part for name, part in expected.items() if name != "beside"}
    found = with_beside(load_params(folder, stored)[0], recipe.model)
    return jax.tree.map(lambda leaf, wanted: leaf.astype(wanted.dtype), found, expected)
