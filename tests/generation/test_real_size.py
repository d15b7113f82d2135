"""The 8B in its real size: a released folder with random weights is converted, read as int8, and answers aloud."""

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from random_release import peak_bytes, write_release

from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.models.config import replace
from fac_jax.models.presets import preset
from fac_jax.text.tokenizer import train_tokenizer

LIMIT = 14 * 10**9  # bytes
UNITS, STEPS, SECONDS = 6561, 11, 3


@pytest.fixture
def released(tmp_path: Path):
    """A folder of 19 GB, which is gone afterwards with all that was made of it."""
    folder = tmp_path / "released"
    folder.mkdir()
    special = train_tokenizer(["what is two plus three"], 300, folder / "tokenizer.json").special_ids(UNITS)
    write_release(folder, replace(preset("8b"), head_prefill="release", special=special), 0)
    centroids = np.random.default_rng(0).standard_normal((UNITS, 320)).astype(np.float32)
    UnitCodec(centroids, UnitCodecConfig(UNITS, iterations=2)).save(folder / "codec")
    soundfile.write(tmp_path / "question.wav", np.sin(np.arange(SECONDS * 16000) / 20) * 0.3, 16000)
    yield folder
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_the_8b_answers_in_14_gb(released: Path, tmp_path: Path, figures, capfd: pytest.CaptureFixture[str]) -> None:
    ours, reply = str(tmp_path / "ours"), str(tmp_path / "reply.wav")
    began = time.perf_counter()
    figures("8B, conversion, peak bytes", peak_bytes("convert", "hf-to-jax", str(released), ours), LIMIT)
    converted = time.perf_counter()
    shutil.rmtree(released)
    asked = ("--audio", str(tmp_path / "question.wav"), "--out", reply, "--json", f"--max_steps={STEPS}")
    weights = ("--quantize=int8", "--quantize_tables")
    figures("8B as int8, peak bytes", peak_bytes("generate", "--checkpoint", ours, *asked, *weights), LIMIT)
    answered = time.perf_counter()
    printed = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert printed["seconds"] == pytest.approx((STEPS - 1) * 0.2)
    assert len(soundfile.read(reply)[0]) == (STEPS - 1) * 3200
    print(f"conversion {converted - began:.0f} s, loading and answering {answered - converted:.0f} s", file=sys.stderr)
