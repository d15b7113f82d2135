"""The voice against recorded runs of the release: every recorded quantity within its limit."""

import re

import pytest
from golden_codec import FOLDER

from fac_jax.evaluation.parity import codec as recorded_codec
from fac_jax.evaluation.parity.recording import read_recording

SHOWN = re.compile(r"log-mel 0|ids of|e_out|_mel|_wav|f0|source,")


PARTS_OF_TOKEN2WAV = [pytest.param(part, marks=pytest.mark.slow) for part in ("flow", "hift")]


@pytest.mark.parametrize("part", ["s3tokenizer", "token2wav", *PARTS_OF_TOKEN2WAV])
def test_recorded_quantities(part, figures):
    found = recorded_codec.compare_part(part, read_recording(FOLDER / part))
    assert len(found) >= 10
    for figure in found:
        assert figure.holds, f"{part}: {figure}"
        if SHOWN.search(figure.name):
            figures(f"{part}, {figure.name}", figure.value, figure.limit)


@pytest.mark.slow
def test_a_changed_recording_is_seen():
    recording = read_recording(FOLDER / "flow")
    recording.arrays["e_out"] = recording.arrays["e_out"] + 1e-3
    wrong = [figure.name for figure in recorded_codec.compare_part("flow", recording) if not figure.holds]
    assert wrong == ["e_out, max abs diff"]
