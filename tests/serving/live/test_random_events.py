"""Random events of a client, whole and broken, in a live session: it always goes on."""

import copy
import json
from typing import Any

import numpy as np
import pytest
from fake_engine import FakeEngine, tone
from hypothesis import given, settings
from hypothesis import strategies as st
from live_talk import live_talk, set_pace
from realtime_talk import append
from served import STEADY, app_of

from fac_jax.serving.config import Limits

LIMITS = Limits(events_per_second=1e9, audio_rate=1e9, audio_burst_s=1e9, text_bytes=200)
TEXTS = st.sampled_from(["", "hello", "café 😀", "x" * 300, "\x00", "../../etc/passwd"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "audio", "x"]), inner),
    max_leaves=6,
)
NO_EVENTS = ["", "{", "[1]", '{"type": NaN}', '{"a": "\\ud800"}', '{"a":1,"a":2}', "[" * 99, "{}"]
SOUNDS = [append(tone(s, 24_000, 220, v))["audio"] for s, v in ((0.3, 0.5), (0.7, 0.0), (1.5, 0.5))]
EVENTS: list[dict[str, Any]] = [
    *({"type": "session.input_audio.append", "audio": audio} for audio in SOUNDS),
    {"type": "session.input_audio.mute"},
    {"type": "session.input_audio.unmute", "event_id": "mine"},
    {"type": "session.instructions.append", "content": "Be kind.", "delegation_id": None},
    {"type": "session.thinking.append", "content": "It is late."},
    {"type": "session.commentary.append", "content": "Say hello."},
    {"type": "session.update", "session": {"delegation": {"type": "client"}}},
    {"type": "session.start", "session": {"model": "fac-fake"}},
    {"type": "response.create", "response": {}},
]


@st.composite
def broken(draw: st.DrawFn) -> str:
    """An event of which a field is missing or anything, or what is no event."""
    if draw(st.integers(0, 7)) == 0:
        return draw(st.sampled_from(NO_EVENTS))
    event = copy.deepcopy(draw(st.sampled_from(EVENTS)))
    inner = [value for value in event.values() if isinstance(value, dict) and value]
    where = draw(st.sampled_from([event, *inner]))
    key = draw(st.sampled_from(sorted(where)))
    if draw(st.booleans()):
        del where[key]
    else:
        where[key] = draw(JSON)
    return json.dumps(event)


@settings(STEADY, max_examples=12)
@given(st.lists(st.sampled_from(EVENTS).map(json.dumps) | broken(), min_size=5, max_size=30))
def test_a_session_answers_after_everything(messages: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        set_pace(patch)
        drive(messages)


def drive(messages: list[str]) -> None:
    """Sends messages, and looks after each whether the session answers."""
    with live_talk(app_of(FakeEngine(), limits=LIMITS)) as talk:
        for number, message in enumerate(messages):
            talk.socket.send_text(message)
            talk.send("session.update", session={}, event_id=f"still there {number}")
            while talk.receive().get("client_event_id") != f"still there {number}":
                pass
        assert np.abs(talk.slot()).max() <= 1
