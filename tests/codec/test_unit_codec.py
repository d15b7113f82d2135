"""The offline unit codec: what its contract (`test_contract.py`) does not say, and bad codec folders."""

import itertools

import librosa
import numpy as np
import pytest

from data_pipelines.worlds.espeak import Voice, speak
from fac_jax.codec.base import FILE, check_ids, load_codec
from fac_jax.codec.unit_codec import CENTROIDS_FILE, SAMPLES, UnitCodec, UnitCodecConfig
from fac_jax.types import InputError

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TRAINED = [f"{a} minus {b} is {c}" for a, b, c in zip(NUMBERS, NUMBERS[3:] + NUMBERS[:3], NUMBERS[::-1], strict=True)]
REPLIES = [f"{NUMBERS[a]} plus {NUMBERS[b]} is {NUMBERS[a + b]}" for a, b in itertools.product(range(5), (1, 2, 4))]
CONFIG = UnitCodecConfig(units=96)


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    """Renderings of `REPLIES`, which no unit was fitted on."""
    return [speak(text, Voice("en-us")) for text in REPLIES]


@pytest.fixture(scope="module")
def codec() -> UnitCodec:
    return UnitCodec.fit([speak(text, Voice("en-us")) for text in TRAINED], CONFIG)


def cepstra(wave: np.ndarray) -> np.ndarray:
    return librosa.feature.mfcc(y=wave, sr=16000, n_mfcc=14, n_fft=512, hop_length=256)[1:]


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean cost of the cheapest path of dynamic time warping between two cepstra `[13, frames]`."""
    cost, path = librosa.sequence.dtw(a, b)
    return cost[-1, -1] / len(path)


def streamed(codec, ids):
    """What a stream says that gets a group of five ids at a time."""
    stream = codec.stream()
    return np.concatenate([*(stream.push(ids[first : first + 5]) for first in range(0, len(ids), 5)), stream.finish()])


def test_a_decoded_reply_is_heard_as_itself(codec, waves, figures):
    spoken = [codec.decode(ids) for ids in codec.encode_batch(waves)]
    originals, decoded = ([cepstra(wave) for wave in group] for group in (waves, spoken))
    named = [int(np.argmin([distance(own, original) for original in originals])) for own in decoded]
    right = float(np.mean(np.array(named) == np.arange(len(waves))))
    figures.at_least("unit codec, decoded replies named by MFCC+DTW", right, 1.0)
    loud = [np.sqrt(np.mean(np.square(w))) for w in (np.concatenate(waves), np.concatenate(spoken))]
    assert 0.6 < loud[1] / loud[0] < 1.4


def test_a_stream_says_what_is_decoded(codec, waves):
    ids = codec.encode(waves[0])
    np.testing.assert_array_equal(streamed(codec, ids), codec.decode(ids))


def test_a_part_of_a_unit_is_dropped(codec, waves):
    assert (codec.rate, codec.units) == (16000, 96)
    for size, count in ((SAMPLES, 1), (2 * SAMPLES - 1, 1), (2 * SAMPLES, 2)):
        ids = codec.encode(waves[0][:size])
        assert ids.shape == (count,) and ids.max() < codec.units


def test_a_batch_of_several_chunks_equals_its_waves_one_by_one(codec, waves):
    many = waves * 6  # more frames than one chunk
    for wave, ids in zip(many, codec.encode_batch(many), strict=True):
        np.testing.assert_array_equal(ids, codec.encode(wave))


def test_a_unit_hears_only_its_surroundings(codec, waves):
    whole = codec.encode(waves[0])
    np.testing.assert_array_equal(codec.encode(waves[0][: 20 * SAMPLES])[:-1], whole[:19])


def test_fitting_is_repeatable(codec, waves):
    ids = codec.encode(waves[1])
    first, second = (UnitCodec.fit(waves, CONFIG) for _ in range(2))
    np.testing.assert_array_equal(first.decode(ids), second.decode(ids))


def test_a_saved_codec_is_two_files(codec, tmp_path):
    codec.save(tmp_path / "codec")
    assert sorted(p.name for p in (tmp_path / "codec").iterdir()) == [CENTROIDS_FILE, FILE]


def test_bad_codec_folders_are_named(codec, tmp_path):
    with pytest.raises(InputError, match=f"no codec in {tmp_path}"):
        load_codec(tmp_path)
    (tmp_path / FILE).write_text('{"name": "other"}')
    with pytest.raises(InputError, match="unknown codec 'other'; known: unit"):
        load_codec(tmp_path)
    (tmp_path / FILE).write_text("[]")
    with pytest.raises(InputError, match="not a codec description"):
        load_codec(tmp_path)
    codec.save(tmp_path)
    (tmp_path / CENTROIDS_FILE).write_bytes(b"")
    with pytest.raises(InputError, match="missing or broken"):
        load_codec(tmp_path)


def test_bad_speech_and_ids_are_named(codec, waves):
    with pytest.raises(InputError, match="has 639 samples; one unit takes 640"):
        codec.encode(np.zeros(639, np.float32))
    assert check_ids(np.array([0, 95], np.int64), 96).dtype == np.int32
    with pytest.raises(InputError, match="cannot make 96 units"):
        UnitCodec.fit([waves[0][: 10 * SAMPLES]], CONFIG)
