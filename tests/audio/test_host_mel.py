"""The two other makers of log-mels give those of `fac_jax.audio.mel`."""

import jax
import numpy as np
import pytest

from fac_jax.audio.host_mel import host_log_mel, wave_frames
from fac_jax.audio.mel import log_mel
from fac_jax.audio.window_mel import to_samples, window_log_mel


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray]:
    """Louder and softer ones, a silent one, the shortest that has a token; whole hops, whole windows and neither."""
    rng = np.random.default_rng(0)
    loudness = {48_057: 0.1, 640: 1.0, 16_000: 0.01, 41_599: 0.2, 16_001: 0.0}
    return [(scale * rng.standard_normal(size)).astype(np.float32) for size, scale in loudness.items()]


def test_the_host_makes_the_same_mel(clips, figures) -> None:
    worst = 0.0
    for clip in clips:
        got, want = host_log_mel(clip), np.asarray(log_mel(clip))
        assert got.shape == want.shape and got.dtype == np.float32
        worst = max(worst, float(np.abs(got - want).max()))
    figures("log-mel on the host, max abs diff", worst, 1e-5)


def test_windows_of_many_clips_hold_the_same_mel(clips, figures) -> None:
    samples, lengths, owners = to_samples([wave_frames(clip) for clip in clips], 14, 100)
    assert lengths.tolist() == [100, 100, 100, 4, 100, 100, 100, 59, 100, 0, 0, 0, 0, 0]
    assert owners[:9].tolist() == [0, 0, 0, 1, 2, 3, 3, 3, 4]
    made = np.asarray(window_log_mel(samples, lengths, owners))
    assert made.shape == (14, 100, 128)
    assert all(not window[length:].any() for window, length in zip(made, lengths, strict=True))
    joined = np.concatenate([window[:length] for window, length in zip(made, lengths, strict=True)])
    want = np.concatenate([np.asarray(log_mel(clip)) for clip in clips])
    figures("log-mel of windows on the device, max abs diff", float(np.abs(joined - want).max()), 1e-5)
    twice = jax.vmap(window_log_mel)(*(np.stack([part, part]) for part in (samples, lengths, owners)))
    np.testing.assert_allclose(twice[1], made, atol=1e-6)
