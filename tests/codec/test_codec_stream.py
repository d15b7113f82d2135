"""Speech as it comes: the samples of the whole, at a cost that does not grow, without recompilation."""

import jax
import numpy as np
import pytest
from golden_codec import FOLDER, ids, models, speaker, voice

from fac_jax.codec.cosyvoice import flow, token2wav, vocoder_windows
from fac_jax.codec.cosyvoice.release_stream import ReleaseStream, Steps
from fac_jax.codec.cosyvoice.source import tones
from fac_jax.codec.cosyvoice.token2wav import Stream, Token2Wav, bucket
from fac_jax.codec.cosyvoice.vocoder_windows import WindowedVocoder, frames_after, frames_before
from fac_jax.evaluation.parity.recording import read_recording
from fac_jax.types import InputError

TOKENS = 137
LIMIT = 1e-3


def spoken(stream: Stream, cut: list[np.ndarray]) -> list[np.ndarray]:
    return [*(stream.push(piece) for piece in cut), stream.finish()]


@pytest.mark.parametrize(
    ("hop", "left"), [*(pytest.param(*one, marks=pytest.mark.slow) for one in ((5, 3), (15, 2), (50, 1))), (25, 2)]
)
def test_a_stream_gives_the_samples_of_the_whole(hop, left, figures):
    whole, tokens = voice(hop=hop, left=left), ids(TOKENS)
    expected = whole.in_chunks(tokens, speaker())
    rng = np.random.default_rng(hop)
    cuts = {
        "one by one": np.arange(1, TOKENS),
        "hops": np.arange(hop, TOKENS, hop),
        "at random": np.sort(rng.choice(np.arange(1, TOKENS), 9, replace=False)),
    }
    for name, cut in cuts.items():
        parts = spoken(whole.stream(speaker()), np.split(tokens, cut))
        assert sum(map(len, parts)) == TOKENS * whole.token_samples
        figures(f"stream of hop {hop}, {name}, max abs diff", np.abs(np.concatenate(parts) - expected).max(), LIMIT)


def test_any_length_ends_whole():
    whole = voice(hop=5, left=3)
    for count in (1, 4, 5, 7, 8, 9, 12, 13):
        stream, tokens = whole.stream(speaker()), ids(count)
        wave = np.concatenate([stream.push(tokens), stream.finish()])
        np.testing.assert_allclose(wave, whole.in_chunks(tokens, speaker()), atol=LIMIT)
        assert len(wave) == len(whole.offline(tokens, speaker())) == count * whole.token_samples
    assert len(whole.stream(speaker()).finish()) == 0


def test_ids_of_no_codebook_are_refused():
    for stream in (voice(hop=5, left=3).stream(speaker()), ReleaseStream(voice(), speaker())):
        with pytest.raises(InputError, match=r"speech id -1 is outside the codec's 128 units \(0 to 127\)"):
            stream.push(np.array([3, -1]))
        assert len(stream.push(np.zeros(0, np.int32))) == len(stream.finish()) == 0
    with pytest.raises(InputError, match="no speech ids"):
        voice().offline(ids(0), speaker())


def test_the_first_audio_comes_after_eighteen_tokens():
    stream, tokens = voice(hop=15, left=2).stream(speaker()), ids(18)
    assert len(stream.push(tokens[:17])) == 0
    frames = 2 * 15 - frames_after(models()[1][0])
    assert len(stream.push(tokens[17:])) == 480 * frames == 12000  # the release gives 10560


def test_a_chunk_costs_the_same_however_much_came_before():
    whole, tokens = voice(hop=5, left=3), ids(120)
    stream = whole.stream(speaker())
    stream.push(tokens[:30])
    programs = [flow.sample_chunk, vocoder_windows._apply]
    before = [program._cache_size() for program in programs]
    kept = [leaf.shape for leaf in jax.tree.leaves(stream._past)]
    frames = len(stream._wave._mel)
    for i in range(30, 120, 5):
        assert len(stream.push(tokens[i : i + 5])) == 5 * whole.token_samples
        assert [leaf.shape for leaf in jax.tree.leaves(stream._past)] == kept
        assert len(stream._wave._mel) <= frames_before(models()[1][0]) + 10 + frames
    stream.finish()
    assert [program._cache_size() for program in programs] == before


def test_windows_of_the_vocoder_join_without_a_seam(figures):
    _, (config, params), noise = models()
    mel = np.repeat(np.random.default_rng(4).standard_normal((40, 80)), 4, axis=0).astype(np.float32)
    for pitch in ("host", "device"):
        vocoder = WindowedVocoder(config, params, noise[1], pitch)
        whole = vocoder.speech(len(mel)).push(mel, final=True)
        assert len(whole) == len(mel) * config.frame_samples and np.abs(whole).max() > 0.01
        for window in (7, 50):
            speech = vocoder.speech(window)
            parts = [speech.push(mel[:61]), speech.push(mel[61:62]), speech.push(mel[62:], final=True)]
            assert len(parts[0]) == (61 - vocoder.after) * config.frame_samples
            limit = 1e-3 if pitch == "device" else 1e-4
            figures(f"vocoder, windows of {window}, {pitch}", np.abs(np.concatenate(parts) - whole).max(), limit)


def test_what_a_window_hears_is_enough_and_needed():
    """The frames around a window are those that reach its samples, and no fewer."""
    _, (config, params), noise = models()
    vocoder, mel = WindowedVocoder(config, params, noise[1]), np.zeros((80, 80), np.float32)
    played = np.zeros((80, config.harmonics), np.float32), np.zeros(80, np.float32)
    base = vocoder.decode([vocoder.window(mel, *played, first=0, length=80)])[0]
    changed = mel.copy()
    changed[40] += 3
    other = vocoder.decode([vocoder.window(changed, *played, first=0, length=80)])[0]
    moved = np.flatnonzero(np.abs(other - base) > 1e-7)
    first, last = moved[0] // config.frame_samples, moved[-1] // config.frame_samples
    assert 40 - frames_after(config) <= first
    assert last <= 40 + frames_before(config)
    assert first < 40 < last


def test_noise_begins_anew_after_its_end():
    flow, vocoder, noise = models()
    short = Token2Wav(flow, vocoder, (noise[0][:20], noise[1][: 20 * 480]))
    assert np.array_equal(short.noise(15, 10), np.concatenate([noise[0][15:20], noise[0][:5]]))
    assert np.isfinite(short.offline(ids(15), speaker())).all()


def test_phase_stays_exact_in_long_speech(figures):
    config = models()[1][0]
    f0, turns = np.full(500, 200.0), np.zeros(config.harmonics)
    for _ in range(60):  # ten minutes
        played = tones(f0, turns, config, "exact")
        turns = played.turns
    # 200 Hz for 30000 frames of 20 ms: every harmonic is back where it began.
    rate = np.float64(np.float32(200) * np.arange(1, 10, dtype=np.float32) / np.float32(24000))
    wanted = config.sine_amplitude * np.sin(2 * np.pi * ((rate * 30000 * 480) % 1.0))
    figures("phase after 10 minutes, sines", np.abs(played.sines[-1] - wanted).max(), 1e-6)


def test_buckets_hold_what_they_must():
    assert [bucket(count) for count in (1, 25, 26, 218, 750, 751, 1501)] == [25, 25, 50, 225, 750, 1500, 2250]
    assert token2wav.BUCKETS[-1] == token2wav.PIECE


class Counted(Steps):
    """Steps that speak nothing, of the right length."""

    def __init__(self) -> None:
        self.frames = self.done = self.forgotten = 0

    def forget(self) -> None:
        self.frames = self.done = 0
        self.forgotten += 1

    def step(self, ids: np.ndarray, offset: int, final: bool) -> np.ndarray:
        self.frames += 2 * (len(ids) - offset - (0 if final else 3))
        wave = np.zeros(480 * (self.frames - (0 if final else 8) - self.done), np.float32)
        self.done = self.frames - (0 if final else 8)
        return wave


def test_the_release_loses_160_ms_at_its_third_cut():
    demo = ReleaseStream(voice(), speaker())
    demo._steps = Counted()
    wave = np.concatenate([demo.push(np.zeros(760, np.int32)), demo.finish()])
    recorded = read_recording(FOLDER / "token2wav").arrays["demo760_calls"]
    np.testing.assert_array_equal(np.array(demo.calls), recorded)
    assert len(wave) == 760 * 960 - 3840 == 725760 and demo._steps.forgotten == 1
