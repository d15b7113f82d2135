"""The tiny model that talks, and an engine with it."""

from collections.abc import Iterator

import pytest
from talking import SETTINGS, talker

from fac_jax.api import Model
from fac_jax.models.config import ModelConfig
from fac_jax.serving.engine import TalkEngine, make_engine
from fac_jax.serving.metrics import Metrics
from fac_jax.text.tokenizer import Tokenizer


@pytest.fixture(scope="package")
def talks(model: ModelConfig, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return talker(model, tokenizer, tmp_path_factory.mktemp("codec"))


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture(scope="module")
def engine(talks: Model, metrics: Metrics) -> Iterator[TalkEngine]:
    made = make_engine(talks, "tiny", SETTINGS, metrics)
    assert not made.ready and not made.alive
    made.warm_up()
    yield made
    made.stop()
    assert not made.alive
