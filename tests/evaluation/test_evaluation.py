"""Scorers: what a reply sounds like, and what its text is worth."""

import time

import librosa
import numpy as np
import pytest

from data_pipelines.worlds.espeak import Voice, speak
from fac_jax.evaluation.speech import heard
from fac_jax.evaluation.speech.heard import Listener, warped_distances
from fac_jax.evaluation.speech.transcripts import accuracy, exact_match, normalize, word_error_rate

RATE = 16_000
WORDS = "zero one two three four five six seven eight nine ten".split()


def melody(seed: int, notes: int = 6, seconds: float = 0.12) -> np.ndarray:
    """A row of chords, float32 [samples]; the same seed gives the same chords at any speed."""
    time_axis = np.arange(round(seconds * RATE)) / RATE
    pitches = np.random.default_rng(seed).uniform(200, 5000, (notes, 3))
    return np.concatenate([np.sin(2 * np.pi * p[:, None] * time_axis).sum(0) / 6 for p in pitches]).astype(np.float32)


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener({f"melody {i}": melody(i) for i in range(20)}, RATE)


def naive_warp(a: np.ndarray, b: np.ndarray) -> float:
    """librosa's warping with the symmetric weights, normalised by both lengths."""
    steps = {"step_sizes_sigma": np.array([[1, 1], [0, 1], [1, 0]]), "weights_mul": np.array([2.0, 1.0, 1.0])}
    cost = np.linalg.norm(a[:, None] - b[None], axis=-1)
    total = librosa.sequence.dtw(C=cost, **steps, backtrack=False)[-1, -1]
    # librosa enters the first cell once, the symmetric pattern twice.
    return float((total + cost[0, 0]) / (len(a) + len(b)))


def test_distances_are_those_of_librosa(figures) -> None:
    rng = np.random.default_rng(0)
    query = rng.standard_normal((23, 5)).astype(np.float32)
    lengths = np.array([9, 23, 31])
    candidates = rng.standard_normal((3, 31, 5)).astype(np.float32)
    found = warped_distances(query, candidates, lengths, band=1.0)
    expected = [naive_warp(query, c[:n]) for c, n in zip(candidates, lengths, strict=True)]
    figures("time warping against librosa, max abs diff", np.abs(found - expected).max(), 1e-5)


def test_band_only_ever_lengthens_a_path() -> None:
    rng = np.random.default_rng(1)
    query = rng.standard_normal((30, 4)).astype(np.float32)
    candidates = rng.standard_normal((8, 40, 4)).astype(np.float32)
    lengths = np.arange(26, 42, 2)
    free, narrow = (warped_distances(query, candidates, lengths, band) for band in (1.0, 0.05))
    assert (narrow >= free).all() and (narrow > free).any()
    assert narrow.max() < 100, "the band closed a path"


def test_a_candidate_is_nearest_to_itself(listener: Listener) -> None:
    text, distance = listener.rank(melody(3))[0]
    assert text == "melody 3"
    assert distance == pytest.approx(0, abs=1e-2)


@pytest.mark.parametrize("seconds", [0.1, 0.15])
def test_tempo_loudness_and_silence_around_do_not_matter(listener: Listener, seconds: float) -> None:
    quiet = np.zeros(RATE // 2, np.float32)
    for i in range(20):
        wave = np.concatenate([quiet, 0.2 * melody(i, seconds=seconds), quiet])
        assert listener.hear(wave) == f"melody {i}"


def test_order_of_notes_matters() -> None:
    forth = melody(0)
    back = np.concatenate(np.split(forth, 6)[::-1])
    listener = Listener({"forth": forth, "back": back}, RATE)
    assert [listener.hear(forth), listener.hear(back)] == ["forth", "back"]


def test_noise_is_still_some_candidate_and_always_the_same(listener: Listener) -> None:
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) / 10
    ranked = listener.rank(noise)
    assert ranked == listener.rank(noise)
    assert [d for _, d in ranked] == sorted(d for _, d in ranked)
    assert len(ranked) == 20


@pytest.mark.parametrize(
    "wave",
    [
        np.zeros(0, np.float32),
        np.zeros(RATE, np.float32),
        np.full(RATE, 1e-5, np.float32),
        melody(3)[: RATE // 20],
        np.concatenate([np.zeros(RATE), melody(3)[:400], np.zeros(RATE)]).astype(np.float32),
    ],
    ids=["empty", "silent", "inaudible", "short", "a click"],
)
def test_nothing_is_heard_in_nothing(listener: Listener, wave: np.ndarray) -> None:
    assert listener.hear(wave) == ""
    assert listener.rank(wave) == []


def test_a_listener_refuses_candidates_it_cannot_hear() -> None:
    with pytest.raises(ValueError, match="needs candidates"):
        Listener({}, RATE)
    with pytest.raises(ValueError, match="'four' is silent"):
        Listener({"three": melody(3), "four": np.zeros(RATE, np.float32)}, RATE)


@pytest.fixture(scope="module")
def spoken() -> dict[str, np.ndarray]:
    """All 121 sums of 0 to 10 with their restating replies, in one voice."""
    sums = [(a, b) for a in range(11) for b in range(11)]
    results = [*WORDS, *"eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty".split()]
    texts = [f"{WORDS[a]} plus {WORDS[b]} is {results[a + b]}" for a, b in sums]
    return {text: speak(text, Voice("en-us", 190, 50)) for text in texts}


def test_speech_is_heard_at_another_rate_and_pitch(spoken: dict[str, np.ndarray], figures) -> None:
    listener = Listener(spoken, RATE)
    asked = list(spoken)[::3]
    right = [listener.hear(speak(text, Voice("en-us", 175, 60))) == text for text in asked]
    figures.at_least("heard at another rate and pitch, share of 41 among 121", np.mean(right), 0.95)


def test_hearing_is_fast(spoken: dict[str, np.ndarray], figures) -> None:
    """Processor time, since tests share the machine; 187 candidates are the sums and differences of the quickstart."""
    more = {f"{text} too": wave for text, wave in list(spoken.items())[: 187 - len(spoken)]}
    listener = Listener(spoken | more, RATE)
    assert len(spoken | more) == 187
    seconds = []
    for wave in list(spoken.values())[:5]:
        start = time.process_time()
        listener.hear(wave)
        seconds.append(time.process_time() - start)
    figures("heard, processor seconds a reply, 187 candidates", min(seconds), 0.1)


def test_a_finer_hop_hears_the_same(spoken: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    few = dict(list(spoken.items())[:30])
    monkeypatch.setattr(heard, "HOP", 0.01)
    listener = Listener(few, RATE)
    assert all(listener.hear(wave) == text for text, wave in few.items())


def test_texts_match_by_content() -> None:
    assert exact_match("three plus four is seven", "Three plus four is SEVEN.")
    assert not exact_match("three plus four is seven", "three minus four is seven")
    assert not exact_match("three plus four is seven", "")
    assert not exact_match("", "")


def test_normalisation_keeps_every_reply_apart(spoken: dict[str, np.ndarray]) -> None:
    replies = [*spoken, *(text.replace("plus", "minus") for text in spoken)]
    assert len({normalize(text) for text in replies}) == len(replies)


def test_accuracy_and_word_error_rate() -> None:
    references = ["one two three four", "five six"]
    assert accuracy(references, ["one two three four", "five"]) == 0.5
    assert word_error_rate(references, references) == 0
    assert word_error_rate(["alpha beta gamma delta"], ["alpha beta gamma"]) == 0.25
    assert word_error_rate(["alpha beta"], [""]) == 1
    with pytest.raises(ValueError, match="no pairs"):
        accuracy([], [])
    with pytest.raises(ValueError):
        accuracy(["a"], ["a", "b"])
