"""The contract of `Codec`, which every codec of the table in `codec/base.py` keeps."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_pipelines.worlds.espeak import Voice, speak
from fac_jax.codec.base import _CODECS, FILE, TOKEN_RATE, Codec, load_codec
from fac_jax.codec.cosyvoice.config import TOKENS
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.types import InputError

# The ids that `encode` may return. The tiny voice joins recorded models whose codebooks differ; its flow speaks 128.
CODEBOOKS = {"unit": 48, "cosyvoice3": TOKENS}
TEXTS = ("one plus two is three", "nine minus four is five", "zero plus seven is seven")


@pytest.fixture(scope="module")
def folders(voice_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A saved codec of every name."""
    unit = tmp_path_factory.mktemp("unit") / "codec"
    UnitCodec.fit([speak(text, Voice("en-us")) for text in TEXTS], UnitCodecConfig(units=CODEBOOKS["unit"])).save(unit)
    return {"unit": unit, "cosyvoice3": voice_folder}


@pytest.fixture(scope="module", params=sorted(_CODECS))
def codec(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Codec:
    folder = folders[request.param]
    assert json.loads((folder / FILE).read_text())["name"] == request.param
    return load_codec(folder)


@pytest.fixture(scope="module")
def waves(codec: Codec) -> list[np.ndarray]:
    """Noise of different lengths: one id, whole ids, and a part of one more."""
    token, rng = codec.heard_rate // TOKEN_RATE, np.random.default_rng(0)
    lengths = (token, 10 * token, 31 * token + token // 2)
    return [(0.1 * rng.standard_normal(size)).astype(np.float32) for size in lengths]


def spoken(codec: Codec, count: int) -> np.ndarray:
    """Ids that `decode` takes."""
    return np.arange(count, dtype=np.int32) % codec.units


def test_ids_are_in_the_codebook_at_25_hz(
    codec: Codec, waves: list[np.ndarray], request: pytest.FixtureRequest
) -> None:
    units = CODEBOOKS[request.node.callspec.params["codec"]]
    for wave in waves:
        ids = codec.encode(wave)
        assert ids.dtype == np.int32 and ids.ndim == 1
        # A codec may drop or fill up what is left after the last whole id.
        assert len(wave) * TOKEN_RATE // codec.heard_rate <= len(ids) <= -(-len(wave) * TOKEN_RATE // codec.heard_rate)
        assert len(ids) >= 1 and ids.min() >= 0 and ids.max() < units


def test_a_batch_equals_its_waves_one_by_one(codec: Codec, waves: list[np.ndarray]) -> None:
    batch = codec.encode_batch(waves[::-1])
    assert len(batch) == len(waves)
    for wave, ids in zip(waves[::-1], batch, strict=True):
        np.testing.assert_array_equal(ids, codec.encode(wave))
    assert codec.encode_batch([]) == []


def test_a_decoded_wave_lasts_as_long_as_its_ids(codec: Codec) -> None:
    assert codec.rate % TOKEN_RATE == 0
    for count in (1, 7):
        wave = codec.decode(spoken(codec, count))
        assert wave.dtype == np.float32 and wave.shape == (count * codec.rate // TOKEN_RATE,)
        assert np.isfinite(wave).all() and np.abs(wave).max() > 0


@pytest.mark.parametrize("count", [0, 1, 7, 33])
def test_a_stream_says_as_much_as_the_whole(codec: Codec, count: int) -> None:
    stream, ids = codec.stream(), spoken(codec, count)
    waves = [*(stream.push(ids[first : first + 5]) for first in range(0, count, 5)), stream.finish()]
    assert {wave.dtype for wave in waves} == {np.dtype(np.float32)}
    assert sum(map(len, waves)) == count * codec.rate // TOKEN_RATE
    assert count < 33 or any(len(wave) for wave in waves[:-1])
    with pytest.raises(InputError, match=f"speech id {codec.units} is outside"):
        codec.stream().push(np.array([0, codec.units]))


def test_equal_ids_give_equal_waves(codec: Codec) -> None:
    np.testing.assert_array_equal(codec.decode(spoken(codec, 7)), codec.decode(spoken(codec, 7)))


def test_a_saved_codec_loads_as_itself(codec: Codec, waves: list[np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "codec").mkdir()
    codec.save(tmp_path / "codec")
    loaded = load_codec(tmp_path / "codec")
    assert type(loaded) is type(codec)
    assert (loaded.heard_rate, loaded.rate, loaded.units) == (codec.heard_rate, codec.rate, codec.units)
    np.testing.assert_array_equal(loaded.encode(waves[1]), codec.encode(waves[1]))
    np.testing.assert_array_equal(loaded.decode(spoken(codec, 7)), codec.decode(spoken(codec, 7)))


def test_bad_input_is_named(codec: Codec, waves: list[np.ndarray]) -> None:
    with pytest.raises(InputError, match="speech 1 of the batch has 0 samples"):
        codec.encode_batch([waves[0], np.zeros(0, np.float32)])
    with pytest.raises(InputError, match="no speech ids"):
        codec.decode(np.zeros(0, np.int32))
    for bad in (-1, codec.units):
        with pytest.raises(InputError, match=f"speech id {bad} is outside the codec's {codec.units} units"):
            codec.decode(np.array([0, bad]))
