"""Waves from magnitudes: how many samples, how near to the magnitudes, and that what was said stays."""

import numpy as np
import pytest

from data_pipelines.worlds.espeak import Voice, speak
from fac_jax.audio.mel import HOP, hann
from fac_jax.codec.inversion import AHEAD, FREQUENCIES, HALF, WINDOW, Past, extended, joined, silence


def magnitudes(wave: np.ndarray) -> np.ndarray:
    """Magnitudes `[1, N, F]` of the frames that are centred on the borders of hops."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, HALF), WINDOW)[::HOP]
    return np.abs(np.fft.rfft(frames * hann(WINDOW))).astype(np.float32)[None]


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    return magnitudes(speak("seven plus five is twelve", Voice("en-us")))


def said(wanted: np.ndarray, pieces: list[int], iterations: int = 8) -> np.ndarray:
    """What is said of frames that come in pieces."""
    past: Past = silence()
    waves = []
    for piece in np.split(wanted, np.cumsum(pieces), axis=1):
        wave, past = extended(past, piece, iterations, last=False)
        waves.append(wave)
    wave, past = extended(past, wanted[:, :0], iterations, last=True)
    assert past.magnitudes.shape[1] == 0
    return np.concatenate([*waves, wave], axis=1)[0]


def distance(wave: np.ndarray, wanted: np.ndarray) -> float:
    """How far the magnitudes of a wave are from those that were wanted, as a share of these."""
    return float(np.linalg.norm(magnitudes(wave) - wanted) / np.linalg.norm(wanted))


def test_every_hop_has_its_samples(wanted: np.ndarray) -> None:
    first, past = extended(silence(), wanted[:, :20], 1, last=False)
    assert first.shape == (1, HOP * (20 - AHEAD) - HALF)
    further, past = extended(past, wanted[:, 20:40], 1, last=False)
    assert further.shape == (1, HOP * 20)
    rest, _ = extended(past, wanted[:, 40:44], 1, last=True)
    assert first.shape[1] + further.shape[1] + rest.shape[1] == HOP * 43
    nothing, _ = extended(silence(), wanted[:, :0], 1, last=True)
    assert nothing.shape == (1, 0)


def test_the_wave_has_the_magnitudes_that_were_wanted(wanted: np.ndarray, figures) -> None:
    count = wanted.shape[1]
    whole = said(wanted, [count - 10])
    streamed = said(wanted, [20] * (count // 20))
    assert len(whole) == len(streamed) == HOP * (count - 1)
    figures("inversion, whole, distance of magnitudes", distance(whole, wanted), 0.25)
    figures("inversion, by 200 ms, distance of magnitudes", distance(streamed, wanted), 0.25)
    assert distance(said(wanted, [20] * (count // 20), 60), wanted) < distance(streamed, wanted)


def test_what_was_said_stays(wanted: np.ndarray) -> None:
    other = wanted.copy()
    other[:, 60:] = wanted[:, :1]
    alike = HOP * (60 - AHEAD) - HALF
    first, second = (said(one, [20] * 4) for one in (wanted, other))
    np.testing.assert_array_equal(first[:alike], second[:alike])
    assert np.abs(first[alike:] - second[alike:]).max() > 0.01


def test_streams_of_a_batch_are_those_alone(wanted: np.ndarray) -> None:
    rows = [wanted[:, 10 * row :][:, :40] for row in range(3)]
    alone = []
    for row in rows:
        first, past = extended(silence(), row[:, :20], 8, last=False)
        alone.append(np.concatenate([first, extended(past, row[:, 20:], 8, last=True)[0]], axis=1))
    batch = np.concatenate(rows)
    first, past = extended(joined([silence()] * 3), batch[:, :20], 8, last=False)
    apart = list(past.apart())
    assert all(one.spectra.shape == (1, AHEAD, FREQUENCIES) for one in apart)
    rest, _ = extended(joined(apart), batch[:, 20:], 8, last=True)
    np.testing.assert_array_equal(np.concatenate([first, rest], axis=1), np.concatenate(alone))
