"""A talk with the real engine and a tiny model: what it says means nothing, the protocol around it does."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from realtime_talk import Talk, append, audio_of, run, silence, speech, user
from talking import SETTINGS, talker

from fac_jax.models.config import ModelConfig
from fac_jax.serving.engine import TalkEngine, make_engine
from fac_jax.text.tokenizer import Tokenizer

CREATE = {"type": "response.create", "response": {"max_output_tokens": 60}}


@pytest.fixture(scope="module")
def engine(model: ModelConfig, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TalkEngine]:
    made = make_engine(talker(model, tokenizer, tmp_path_factory.mktemp("codec")), "fac-fake", SETTINGS)
    made.warm_up()
    yield made
    made.stop()


def test_turns_an_interruption_and_a_cut(engine: TalkEngine) -> None:
    async def test() -> None:
        async with Talk(engine) as talk:
            session: Any = {"type": "realtime", "max_output_tokens": 12}
            await talk.send({"type": "session.update", "session": session})
            await talk.send(append(speech(0.6)), append(silence(0.6)))
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status"] in ("completed", "incomplete")
            assert done["usage"]["input_token_details"]["audio_tokens"] > 0
            spoken = len(audio_of(talk.events)) / 24_000
            assert spoken == pytest.approx(done["usage"]["output_token_details"]["audio_tokens"] * 0.2, abs=0.3)
            assert np.abs(audio_of(talk.events)).max() > 0

            item_id = done["output"][0]["id"]
            cut = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 300}
            await talk.ask(cut, "conversation.item.truncated")
            await talk.send(user("and now"), CREATE, append(speech(0.4)))
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status_details"]["reason"] == "turn_detected"
            await talk.send(append(silence(0.6)))
            done = (await talk.until("response.done"))[-1]["response"]
            assert done["status"] in ("completed", "incomplete") and not talk.of("error")

    run(test)
