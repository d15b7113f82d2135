"""Models of others: by command and by entry, their answers kept, their faults in one line."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import plugin_commands
import pytest

from fac_jax.audio.io import save_wav
from fac_jax.evaluation.speech.plugins import Plugin, PluginConfig
from fac_jax.types import InputError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.wav" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(b"x" * (i + 1))
    return paths


def command(tmp_path: Path, name: str) -> Plugin:
    words = (sys.executable, str(plugin_commands.__file__), name, str(tmp_path / "log"))
    return Plugin(PluginConfig(command=words, name="ears", version="1"), tmp_path / "plugins.jsonl")


def entry(tmp_path: Path, name: str, **changes: Any) -> Plugin:
    return Plugin(PluginConfig(entry=name, **changes), tmp_path / "plugins.jsonl")


def asked(tmp_path: Path) -> int:
    return len((tmp_path / "log").read_text().splitlines())


def test_a_command_hears_files_once(tmp_path: Path, files: list[Path]) -> None:
    twin = tmp_path / "twin.wav"
    twin.write_bytes(files[0].read_bytes())
    assert command(tmp_path, "hears").recognise([*files, twin]) == ["heard 0", "heard 1", "heard 2", "heard 0"]
    files[1].write_bytes(b"other")
    assert command(tmp_path, "hears").recognise([*files, twin]) == ["heard 0", "heard 0", "heard 2", "heard 0"]
    assert asked(tmp_path) == 4


FAULTS = {
    "breaks": "exit code 1: model lost",
    "forgets": "ears: no answer for .*1.wav and 0 others",
    "strange": "ears: it answers id 'x', which was not asked",
    "mute": "ears: its answer for .*0.wav has no text",
    "babbles": "no JSON object: loading model ..",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line(tmp_path: Path, files: list[Path], name: str) -> None:
    with pytest.raises(InputError, match=FAULTS[name]) as error:
        command(tmp_path, name).recognise(files)
    assert "\n" not in str(error.value)


def test_what_was_answered_before_a_fault_is_kept(tmp_path: Path, files: list[Path]) -> None:
    for _ in range(2):
        with pytest.raises(InputError, match="exit code 1"):
            command(tmp_path, "breaks").recognise(files)
    assert asked(tmp_path) == 2  # each run heard one more file
    assert command(tmp_path, "breaks").recognise(files) == ["heard 0"] * 3


def test_an_entry_scores_and_embeds(tmp_path: Path, files: list[Path]) -> None:
    assert entry(tmp_path, "plugin_commands:sizes").mos(files) == [1, 2, 3]
    halves = entry(tmp_path, "plugin_commands:sizes", options={"unit": 2})
    assert halves.mos(files) == [0.5, 1, 1.5]  # other options are another model
    vectors = entry(tmp_path, "plugin_commands:lengths").embed(["a", "bcd", "a"])
    np.testing.assert_array_equal(vectors, [[1, 1], [3, 1], [1, 1]])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"command": ("no-such-program",)}, "no-such-program: the command cannot be started: No such file"),
        ({"entry": "no_module:function"}, "no_module:function cannot be imported"),
        ({"entry": "plugin_commands:nothing"}, "plugin_commands:nothing cannot be imported"),
        ({"entry": "whisperer"}, "no such plug-in; known: faster_whisper"),
        ({"entry": "plugin_commands:sizes", "options": {"units": 2}}, "its options are wrong"),
    ],
)
def test_a_plug_in_that_cannot_start_is_one_line(
    tmp_path: Path, files: list[Path], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Plugin(PluginConfig(**config), tmp_path / "plugins.jsonl").mos(files)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent.wav: no such file"):
        command(tmp_path, "hears").recognise([tmp_path / "absent.wav"])


def test_the_identity_tells_the_model_and_its_weights(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"w")
    config = PluginConfig(command=("/opt/utmos/run",), name="UTMOS", version="demo", weights=str(tmp_path / "weights"))
    identity = Plugin(config, tmp_path / "plugins.jsonl").identity
    assert identity.official("mos") and identity.describe() == "UTMOS, demo, weights 50e721e49c01"
    other = entry(tmp_path, "faster_whisper", options={"model": "tiny.en"}).identity
    assert other.name == "tiny.en" and not other.official("recogniser")


def test_transformers_are_run_as_ultraeval_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []

    def pipeline(task: str, **given: Any) -> Any:
        said.append((task, given))
        return lambda wave, **options: said.append(options) or {"text": f" {len(wave['raw'])} samples"}

    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True), float16="float16", float32="float32")
    monkeypatch.setitem(sys.modules, "torch", torch)  # type: ignore[arg-type]
    transformers = ModuleType("transformers")
    transformers.pipeline = pipeline  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", transformers)
    save_wav(tmp_path / "a.wav", np.full(320, 0.5))
    plugin = entry(tmp_path, "whisper_transformers", options={"model": "openai/whisper-large-v3"})
    assert plugin.recognise([tmp_path / "a.wav"]) == ["320 samples"] and plugin.identity.official("recogniser")
    given = {"model": "openai/whisper-large-v3", "device": "cuda", "dtype": "float16"}
    assert said == [("automatic-speech-recognition", given), {"return_timestamps": True}]
