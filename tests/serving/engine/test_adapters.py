"""Adapters beside a base in one engine: their replies are made side by side, and each is that of its model alone."""

import asyncio
import copy
from collections.abc import Iterator

import numpy as np
import pytest
from adapters import adapted_params
from initial import initial_params
from talking import SETTINGS, TEXTS, WAVES, Asked, answer, answered, asks, request, said

from fac_jax.api import Model
from fac_jax.generation.prepared import with_adapter
from fac_jax.models.config import ModelConfig
from fac_jax.models.lora import LoraConfig, adapter_of
from fac_jax.serving.engine import TalkEngine, make_engine
from fac_jax.types import InputError, Params

WIDE, NARROW = LoraConfig(rank=6, alpha=24.0), LoraConfig((r"backbone/.*attention/[qv]$",), rank=2, alpha=8.0)


@pytest.fixture(scope="module")
def adapters(model: ModelConfig) -> dict[str, Params]:
    params = initial_params(model, 14)
    configs = {"wide": WIDE, "narrow": NARROW}
    return {name: adapter_of(adapted_params(params, config, 7)) for name, config in configs.items()}


@pytest.fixture(scope="module")
def models(talks: Model, adapters: dict[str, Params]) -> dict[str, Model]:
    """The base, and what `Model.with_adapter` makes of it."""
    found = {"tiny": talks}
    for name, leaves in adapters.items():
        found[name] = copy.copy(talks)
        found[name].params = with_adapter(talks.params, leaves)
    return found


@pytest.fixture(scope="module")
def several(talks: Model, adapters: dict[str, Params]) -> Iterator[TalkEngine]:
    made = make_engine(talks, "tiny", SETTINGS, adapters=adapters)
    made.warm_up()
    yield made
    made.stop()


def test_replies_of_several_models_are_made_together(several: TalkEngine, models: dict[str, Model]) -> None:
    async def together() -> list[Asked]:
        wanted = [
            request(said(asks(question)), model=name) for question in (TEXTS[0], WAVES[0]) for name in (*models, None)
        ]
        return [await one.over() for one in [Asked(several, one) for one in wanted]]

    assert several.models == ("tiny", "wide", "narrow")
    found = asyncio.run(together())
    assert several.compilations.count == 0  # `check` compiles
    for one, name in zip(found, [*models, "tiny"] * 2, strict=True):
        one.check(models[name])
    assert len({tuple(one.units) for one in found[:3]}) == 3  # they do not say the same


def test_a_conversation_with_another_model_is_computed_anew(several: TalkEngine, models: dict[str, Model]) -> None:
    turns = [asks(TEXTS[0])]
    first = answer(several, request(said(*turns), model="wide", session="one"))
    turns += [answered(first.reply), asks(TEXTS[1])]
    other = answer(several, request(said(*turns), model="narrow", session="one"))
    other.check(models["narrow"])
    same = answer(several, request(said(*turns, answered(other.reply), asks(TEXTS[1])), model="narrow", session="one"))
    assert other.began.reused == 0 < same.began.reused
    same.check(models["narrow"])


def test_what_cannot_be_served_beside_others_is_refused(talks: Model, model: ModelConfig, several: TalkEngine) -> None:
    params = initial_params(model, 14)
    ears = adapter_of(adapted_params(params, LoraConfig(("llm", "encoder"), rank=2)))
    with pytest.raises(InputError, match="adapter ears changes encoder/layers"):
        make_engine(talks, "tiny", SETTINGS, adapters={"ears": ears})
    leaf = np.zeros((2, 3), np.float32)
    experts = {"backbone": {"decoder": {"layers_0": {"moe": {"gate_lora_a": leaf[None, None]}}}}}
    with pytest.raises(InputError, match="adapter experts changes backbone/decoder/layers_0/moe: beside"):
        make_engine(talks, "tiny", SETTINGS, adapters={"experts": experts})
    text = adapter_of(adapted_params(params, NARROW))
    with pytest.raises(InputError, match="tiny is the name of the base"):
        make_engine(talks, "tiny", SETTINGS, adapters={"tiny": text})
    adapted = copy.copy(talks)
    adapted.params = with_adapter(talks.params, text)
    with pytest.raises(InputError, match="has an adapter itself"):
        make_engine(adapted, "tiny", SETTINGS, adapters={"text": text})
    with pytest.raises(InputError, match="unknown model 'other'; known: tiny, wide, narrow"):
        several.submit(request(said(asks(TEXTS[0])), model="other"), lambda _: None)
