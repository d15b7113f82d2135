"""Log-mels made in numpy are those of `fac_jax.audio.mel`."""

import numpy as np
import pytest

from fac_jax.audio.mel import host_log_mel, log_mel


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Louder and softer ones, a silent one, the shortest that has a token; whole hops, whole windows and neither."""
    rng = np.random.default_rng(0)
    loudness = {48_057: 0.1, 640: 1.0, 16_000: 0.01, 41_599: 0.2, 16_001: 0.0}
    return [(scale * rng.standard_normal(size)).astype(np.float32) for size, scale in loudness.items()]


@pytest.mark.parametrize("bins", [80, 128])
def test_the_host_makes_the_same_mel(bins, clips, figures) -> None:
    worst = 0.0
    for clip in clips:
        got, want = host_log_mel(clip, bins), np.asarray(log_mel(clip, bins=bins))
        assert got.shape == want.shape and got.dtype == np.float32
        worst = max(worst, float(np.abs(got - want).max()))
    figures(f"log-mel of {bins} bins on the host, max abs diff", worst, 1e-5)
