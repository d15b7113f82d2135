"""Audio formats and rates."""

import base64

import numpy as np
import pytest
from energy_turns import EnergyTurns
from fake_engine import FakeEngine
from realtime_talk import Talk, run, silence, speech

from fac_jax.audio.io import resampled
from fac_jax.serving.detect.base import TurnSettings
from fac_jax.serving.realtime.ear import Ear
from fac_jax.serving.realtime.settings import G711, Pcm
from fac_jax.serving.realtime.sound import ForDetector, from_base64, to_base64

COMMIT = {"type": "input_audio_buffer.commit"}
BUFFER = "input_audio_buffer"


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_audio_of_a_telephone_is_heard_and_given_back(kind: str) -> None:
    form = G711.model_validate({"type": kind})
    wave = speech(0.5, 8000)

    async def test() -> None:
        async with Talk() as talk:
            given = {"format": {"type": kind}, "turn_detection": None}
            await talk.send({"type": "session.update", "session": {"type": "realtime", "audio": {"input": given}}})
            await talk.send({"type": f"{BUFFER}.append", "audio": to_base64(wave, form)}, COMMIT)
            heard = talk.engine.heard[0].wave
            assert len(heard) == 8000
            np.testing.assert_allclose(heard[800:-800], resampled(wave, 8000)[800:-800], atol=0.02)
            item_id = talk.of(f"{BUFFER}.committed")[0]["item_id"]
            got = await talk.ask(
                {"type": "conversation.item.retrieve", "item_id": item_id}, "conversation.item.retrieved"
            )
            back = from_base64(got[-1]["item"]["content"][0]["audio"], form, "audio")
            np.testing.assert_allclose(back[400:-400], wave[400:-400], atol=0.03)

    run(test)


def test_pcm_comes_back_sample_for_sample() -> None:
    words = np.arange(-32_768, 32_768, 7, dtype=np.int32).astype("<i2")
    text = base64.b64encode(words.tobytes()).decode()
    assert to_base64(from_base64(text, Pcm(), "audio"), Pcm()) == text


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_an_engine_may_hear_at_another_rate_than_the_detector(rate: int) -> None:
    engine = FakeEngine()
    ear = Ear(engine.listen, rate, EnergyTurns, Pcm(), TurnSettings())
    for _ in range(2):
        for piece in np.split(np.concatenate([silence(0.4), speech(0.4), silence(0.8)]), 8):
            ear.take(piece)
            for event in ear.turns(model_heard=False):
                if ear.turn:
                    ear.end(event.ms)
                else:
                    ear.begin(event.ms)
            ear.feed()
    for heard in engine.heard:
        first = np.argmax(np.abs(heard.wave) > 0.01) / rate
        assert first == pytest.approx(0.3, abs=0.02), "the padding before the onset"
        assert len(heard.wave) / rate == pytest.approx(0.3 + 0.4 + 0.5, abs=0.06)


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 48_000])
def test_a_detector_hears_what_is_below_its_band_in_pieces_of_any_length(rate: int) -> None:
    time, late = np.arange(rate) / rate, 0.002
    tone = np.sin(2 * np.pi * 440 * time).astype(np.float32)
    whole = ForDetector(rate).push(tone)
    assert whole.dtype == np.float32 and len(whole) == 16_000
    lag = max(range(round(late * 16_000) + 1), key=lambda lag: float(whole[4000:8000] @ whole_at(lag)))
    np.testing.assert_allclose(whole[4000:8000], whole_at(lag), atol=0.1)
    cut, stream = np.sort(np.random.default_rng(0).integers(0, rate, 40)), ForDetector(rate)
    np.testing.assert_allclose(np.concatenate([stream.push(one) for one in np.split(tone, cut)]), whole, atol=1e-6)
    if rate > 16_000:
        above = ForDetector(rate).push(np.sin(2 * np.pi * 11_000 * time).astype(np.float32))
        assert np.abs(above[1000:-1000]).max() < 0.01


def whole_at(lag: int) -> np.ndarray:
    """A tone of 440 Hz at 16 kHz, as it is heard `lag` samples late."""
    return np.sin(2 * np.pi * 440 * (np.arange(4000, 8000) - lag) / 16_000).astype(np.float32)
