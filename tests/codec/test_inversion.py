"""Waves from magnitudes: how many samples, how near to the magnitudes, and that what was said stays."""

import jax
import numpy as np
import pytest

from data_pipelines.worlds.espeak import Voice, speak
from fac_jax.audio.mel import HOP, hann
from fac_jax.codec.inversion import AHEAD, FREQUENCIES, HALF, WINDOW, Past, extended, samples_of, silence


def magnitudes(wave: np.ndarray) -> np.ndarray:
    """Magnitudes `[N, F]` of the frames that are centred on the borders of hops."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, HALF), WINDOW)[::HOP]
    return np.abs(np.fft.rfft(frames * hann(WINDOW))).astype(np.float32)


@pytest.fixture(scope="module")
def wanted() -> np.ndarray:
    return magnitudes(speak("seven plus five is twelve", Voice("en-us")))


MOST = 160  # frames of a piece
STEP = jax.jit(extended, static_argnames="iterations")


def said(wanted: np.ndarray, pieces: list[int], iterations: int = 8) -> np.ndarray:
    """What is said of frames that come in pieces."""
    past, begun, waves = silence(), False, []
    splits = np.split(wanted, np.cumsum(pieces))
    for number, piece in enumerate(splits):
        last = number == len(splits) - 1
        padded = np.pad(piece, ((0, MOST - len(piece)), (0, 0)))
        wave, past = STEP(past, padded, len(piece), begun, last, iterations)
        waves.append(wave[: samples_of(len(piece), begun, last)])
        begun = True
    return np.concatenate(waves)


def distance(wave: np.ndarray, wanted: np.ndarray) -> float:
    """How far the magnitudes of a wave are from those that were wanted, as a share of these."""
    return float(np.linalg.norm(magnitudes(wave) - wanted) / np.linalg.norm(wanted))


def test_every_hop_has_its_samples(wanted: np.ndarray) -> None:
    assert samples_of(20, False, False) == HOP * (20 - AHEAD) - HALF
    assert samples_of(20, True, False) == HOP * 20
    for pieces in ([20, 20], [4], [44], []):
        assert len(said(wanted[:44], pieces, 1)) == HOP * 43
    assert samples_of(1, False, True) == samples_of(0, False, True) == 0


def test_the_wave_has_the_magnitudes_that_were_wanted(wanted: np.ndarray, figures) -> None:
    count = len(wanted)
    whole = said(wanted, [count - 10])
    streamed = said(wanted, [20] * (count // 20))
    assert len(whole) == len(streamed) == HOP * (count - 1)
    figures("inversion, whole, distance of magnitudes", distance(whole, wanted), 0.25)
    figures("inversion, by 200 ms, distance of magnitudes", distance(streamed, wanted), 0.25)
    assert distance(said(wanted, [20] * (count // 20), 60), wanted) < distance(streamed, wanted)


def test_what_was_said_stays(wanted: np.ndarray) -> None:
    other = wanted.copy()
    other[60:] = wanted[:1]
    alike = HOP * (60 - AHEAD) - HALF
    first, second = (said(one, [20] * 4) for one in (wanted, other))
    np.testing.assert_array_equal(first[:alike], second[:alike])
    assert np.abs(first[alike:] - second[alike:]).max() > 0.01


def test_frames_that_are_not_there_change_nothing(wanted: np.ndarray) -> None:
    """What a piece is padded with is not heard, and neither is the past of whoever had the place before."""
    past = Past(*(np.ones(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(silence())))
    for begun in (False, True):
        clean, full = np.zeros((12, FREQUENCIES), np.float32), np.ones((12, FREQUENCIES), np.float32)
        clean[:8] = full[:8] = wanted[20:28]
        count = samples_of(8, begun, True)
        first = STEP(past, clean, 8, begun, True, 2)[0][:count]
        np.testing.assert_array_equal(first, STEP(past, full, 8, begun, True, 2)[0][:count])
