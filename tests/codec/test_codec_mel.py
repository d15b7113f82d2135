"""The log-mel of prompts, against librosa; the fixed noise, against recorded heads."""

import librosa
import numpy as np

from fac_jax.codec.cosyvoice.noise import release_noise
from fac_jax.codec.cosyvoice.prompt_mel import prompt_mel


def test_prompt_mel_is_that_of_librosa(figures):
    wave = np.random.default_rng(0).standard_normal(24_000).astype(np.float32) * 0.1
    padded = np.pad(wave, 720, mode="reflect").astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1920) / 1920)
    spectrum = np.stack([np.fft.rfft(padded[i * 480 : i * 480 + 1920] * window) for i in range(50)])
    bank = librosa.filters.mel(sr=24_000, n_fft=1920, n_mels=80, fmin=0, fmax=12_000)
    expected = np.log(np.maximum(np.sqrt(np.abs(spectrum) ** 2 + 1e-9) @ bank.T, 1e-5))
    ours = np.asarray(prompt_mel(np.stack([wave, wave])))
    assert ours.shape == (2, 50, 80)
    figures("prompt log-mel", np.abs(ours - expected).max(), 1e-4)


def test_noise_is_that_of_the_release():
    flow, source = release_noise()
    assert flow.shape == (15000, 80) and source.shape == (720_000, 9)
    # Check values of the release's buffers after its load order (codec.md section 5).
    np.testing.assert_allclose(flow[:4, 0], [-1.1258398, -1.1523602, -0.2505786, -0.4338788], atol=5e-7)
    np.testing.assert_array_equal(source[0, :3], np.float32([0.9228260, 0.4774475, 0.8270518]))
