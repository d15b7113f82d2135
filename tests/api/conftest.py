"""The model of `small_speaker`, made once for a process of tests."""

from pathlib import Path

import pytest
from small_speaker import make_run

import fac_jax
from fac_jax.api import Model


@pytest.fixture(scope="session")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one finished stage."""
    return make_run(tmp_path_factory.mktemp("api"))


@pytest.fixture(scope="session")
def model(workdir: Path) -> Model:
    """Its model."""
    return fac_jax.load(workdir)
