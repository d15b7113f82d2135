"""Adapters from the command line: keys of a stage that has none before one of them is set."""

import pytest

from experiments.configs import quickstart
from experiments.run.config import resolve_config
from fac_jax.models.lora import LoraConfig
from fac_jax.types import InputError


def test_one_key_gives_a_stage_an_adapter() -> None:
    config = quickstart.get_config()
    config.stages.speak.lora.rank = 8
    config.stages.speak.lora.targets = ("llm", "tables")
    listen, speak = resolve_config(config).stages[-2:]
    assert listen.lora is None and listen.patterns == ("",)
    assert speak.lora == LoraConfig(("llm", "tables"), rank=8)
    assert speak.patterns == (".*lora_[ab]$", "backbone/(un)?embed/", "speech_embedder/embed/")


def test_a_wrong_key_of_an_adapter_is_named_with_its_stage() -> None:
    config = quickstart.get_config()
    config.stages.speak.lora.rank = 0
    with pytest.raises(InputError, match=r"stages\.speak: lora\.rank is 0; it must be at least 1"):
        resolve_config(config)
