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
from fac_jax.serving.realtime.sound import from_base64, to_base64

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
