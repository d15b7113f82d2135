"""A duplex model on disk: started from a half-duplex one, merged, and written in the release's layout or refused."""

from pathlib import Path

import jax
import numpy as np
import pytest
from initial import initial_params
from recorded_copies import Refused
from toy_pairs import same
from toy_training import MODEL, stage

from fac_jax.checkpoint.export import export_model, load_config, load_params
from fac_jax.checkpoint.release.convert import combine_models, export_release, import_release
from fac_jax.checkpoint.release.survey import survey_params
from fac_jax.models.config import replace
from fac_jax.models.duplex import DuplexConfig
from fac_jax.training.recipe import Recipe, start_params

DUPLEX = replace(MODEL, duplex=DuplexConfig(sinks=4, loudest_floor=-1.5, window=64))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A half-duplex model, and a duplex one with a kernel that is not zero."""
    folder = tmp_path_factory.mktemp("models")
    params = jax.device_get(initial_params(MODEL))
    export_model(folder / "half", params, MODEL, {"stage": "a", "order": 0}, {})
    kernel = np.arange(32 * 32, dtype=np.float32).reshape(32, 32)
    export_model(folder / "duplex", {**params, "beside": {"kernel": kernel}}, DUPLEX, {"stage": "b", "order": 0}, {})
    return folder


def test_a_recipe_for_a_duplex_model_starts_from_a_half_duplex_one(folder: Path) -> None:
    started = start_params(Recipe(DUPLEX, (stage(),), initial=folder / "half"), stage(), folder)
    kernel = started.pop("beside")["kernel"]
    assert kernel.shape == (32, 32) and not np.any(kernel)
    same(started, load_params(folder / "half")[0])
    again = start_params(Recipe(DUPLEX, (stage(),), initial=folder / "duplex"), stage(), folder)
    same(again, load_params(folder / "duplex")[0])
    assert load_config(folder / "duplex") == DUPLEX


def test_the_release_has_no_place_for_it(folder: Path, tmp_path: Path, refused: Refused) -> None:
    line = refused("jax-to-hf", folder / "duplex", tmp_path / "hf")
    assert "a duplex model; the release has no place for its kernel `beside`" in line and "--half_duplex" in line
    assert not list(tmp_path.iterdir())
    export_release(folder / "duplex", tmp_path / "hf", "float32", half_duplex=True)
    import_release(tmp_path / "hf", tmp_path / "back")
    same(load_params(tmp_path / "back")[0], load_params(folder / "half")[0])
    assert load_config(tmp_path / "back").duplex is None
    (row,) = [row for row in survey_params(folder / "duplex") if row.name == "beside.kernel"]
    assert row.target == "none: the released layout has no calls"


def test_a_merge_keeps_the_kernel(folder: Path, tmp_path: Path) -> None:
    def halved(path: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return (first + second) / 4

    combine_models(folder / "duplex", folder / "duplex", tmp_path / "mixed", halved, {"merge": "test", "order": 0})
    mixed, params = (load_params(path)[0] for path in (tmp_path / "mixed", folder / "duplex"))
    same(mixed, jax.tree.map(lambda leaf: leaf / 2, params))
