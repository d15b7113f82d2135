"""What a reply says, calls and sounds like, however the engine cuts it into steps."""

import asyncio
import json
from collections.abc import Sequence

import numpy as np
import pytest
from fake_engine import FakeEngine, Word
from hypothesis import given
from hypothesis import strategies as st
from served import STEADY

from fac_jax.batching.conversation import Conversation, GeneratedReply, Turn
from fac_jax.serving.talk import TalkRequest
from fac_jax.serving.web.kept import KEPT_S, KeptReplies
from fac_jax.serving.web.reply import Called, Heard, Running, Said, Stops

CALL = '<tool_call>\n{"name": "f", "arguments": {"x": "é"}}\n</tool_call>'


def followed(
    pieces: Sequence[str], tools: bool = True, stops: tuple[str, ...] = (), limit: int = 100
) -> tuple[str, list[Called], float, Running]:
    """The text, the calls and the seconds of audio of a reply, and the reply."""

    async def follow() -> tuple[str, list[Called], float, Running]:
        engine = FakeEngine(lambda request, number: [Word(piece) for piece in pieces])
        conversation = Conversation("0", "", (Turn("user", "hi"),))
        running = Running(TalkRequest(conversation, True, limit), tools, stops)
        await running.begin(engine)
        deltas = [delta async for delta in running.deltas(engine.rate)]
        samples = sum(len(delta.samples) for delta in deltas if isinstance(delta, Heard))
        text = "".join(delta.text for delta in deltas if isinstance(delta, Said))
        return text, [delta for delta in deltas if isinstance(delta, Called)], samples / engine.rate, running

    return asyncio.run(follow())


@STEADY
@given(st.data())
def test_pieces_change_nothing(data: st.DataObject) -> None:
    whole = f"Let me see. {CALL}{CALL}"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    text, calls, seconds, running = followed(pieces)
    assert text == "Let me see. "
    assert [(call.index, call.name, json.loads(call.arguments)) for call in calls] == [
        (0, "f", {"x": "é"}),
        (1, "f", {"x": "é"}),
    ]
    assert len({call.id for call in calls}) == 2 and running.finish == "tool_calls"
    assert seconds == pytest.approx(0.2 * len(pieces))


def test_a_call_alone_is_not_spoken() -> None:
    text, calls, seconds, _ = followed([CALL[:20], CALL[20:], "\n"])
    assert (text, len(calls), seconds) == ("", 1, 0.0)


def test_a_reply_of_no_text_is_spoken() -> None:
    assert followed(["", ""])[2] == 0.4


def test_what_is_not_json_is_passed_on() -> None:
    broken = '<tool_call>{"name": "f", "arguments": {x}}</tool_call>'
    _, (call,), _, _ = followed([broken])
    assert (call.name, call.arguments) == ("f", '{"name": "f", "arguments": {x}}')
    assert followed(["<tool_call>half"])[1][0].arguments == "half"


def test_without_tools_a_call_is_text() -> None:
    text, calls, _, running = followed([CALL], tools=False)
    assert (text, calls, running.finish) == (CALL, [], "stop")


def test_a_stop_ends_the_reply() -> None:
    text, _, _, running = followed(["one", " tw", "o three", " four", " five"], stops=("two", "four"))
    assert (text, running.finish) == ("one ", "stop")
    assert running.reply is not None and running.usage.made < 5


def test_the_limit_is_told() -> None:
    assert followed(["one", " two"], limit=1)[3].finish == "length"


@STEADY
@given(st.lists(st.text("ab", max_size=4), max_size=8), st.lists(st.text("ab", min_size=1, max_size=3), max_size=3))
def test_stops_cut_where_the_whole_text_would_be_cut(pieces: list[str], stops: list[str]) -> None:
    cutter = Stops(tuple(stops))
    text = "".join(map(cutter.push, pieces)) + cutter.close()
    whole = "".join(pieces)
    assert whole.startswith(text) and not any(stop in text for stop in stops)
    assert cutter.met == any(stop in whole for stop in stops)
    if cutter.met:
        assert any(whole[len(text) :].startswith(stop) for stop in stops)
    else:
        assert text == whole


def reply(*ids: int) -> GeneratedReply:
    return GeneratedReply(np.array(ids, np.int32), np.zeros((0, 5), np.int32))


def test_answers_are_kept_for_an_hour_and_not_too_many() -> None:
    now = 1000.0
    kept = KeptReplies(most=2, clock=lambda: now)
    assert kept.put("a", "me", reply(1)) == 1000 + KEPT_S
    kept.put("b", "me", reply(2))
    assert kept.get("a", "you") is None
    assert kept.get("a", "me") is not None
    kept.put("c", "me", reply(3))
    assert kept.get("b", "me") is None  # nobody had named it for longest
    now += KEPT_S
    assert kept.get("a", "me") is None
