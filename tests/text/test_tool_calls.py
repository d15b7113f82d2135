"""Function calls in a reply that arrives piece by piece."""

import random

import pytest

from fac_jax.text.tool_calls import BadToolCall, Event, Text, ToolCall, ToolCallParser

REPLY = (
    'Ich <tool sehe nach.\n<tool_call>\n{"name": "weather", "arguments": {"city": "北京", "days": 2}}\n</tool_call>\n'
    '<<tool_call>{"name": "now", "arguments": {}}</tool_call> <tool_call>{bad}</tool_call></tool_call> a < b <tool_cal'
)


def read(pieces: list[str]) -> list[Event]:
    parser = ToolCallParser()
    return [event for piece in pieces for event in parser.push(piece)] + parser.close()


def joined(events: list[Event]) -> tuple[str, list[Event]]:
    text = "".join(event.text for event in events if isinstance(event, Text))
    return text, [event for event in events if not isinstance(event, Text)]


def test_any_split_gives_the_same_text_and_calls():
    text, calls = joined(read([REPLY]))
    assert text == "Ich <tool sehe nach.\n\n< </tool_call> a < b <tool_cal"
    assert calls[:2] == [ToolCall("weather", {"city": "北京", "days": 2}), ToolCall("now", {})]
    assert len(calls) == 3 and isinstance(calls[2], BadToolCall) and calls[2].text == "{bad}"
    rng = random.Random(0)
    splits = [list(REPLY)]
    for _ in range(200):
        cuts = [0, *sorted(rng.sample(range(len(REPLY)), rng.randrange(1, 12))), len(REPLY)]
        splits.append([REPLY[start:end] for start, end in zip(cuts, cuts[1:], strict=False)])
    for pieces in splits:
        assert joined(read(pieces)) == (text, calls)


def test_nothing_is_held_back_longer_than_needed():
    parser = ToolCallParser()
    assert parser.push("so <tool_") == [Text("so ")]
    assert parser.push("box> <") == [Text("<tool_box> ")]
    assert parser.push('tool_call>{"name": "f", "arguments": {}}</tool_call') == []
    assert parser.push(">.") == [ToolCall("f", {}), Text(".")]
    assert parser.close() == []


@pytest.mark.parametrize(
    "block, reason",
    [
        ('{"name": "f", "arguments": {}', "not JSON"),
        ('[{"name": "f", "arguments": {}}]', "name"),
        ('{"name": 3, "arguments": {}}', "name"),
        ('{"name": "f"}', "arguments"),
        ('{"name": "f", "arguments": "{}"}', "arguments"),
        ('{"a":' * 100_000, "deep"),
    ],
)
def test_unreadable_call_is_reported_and_the_reply_goes_on(block, reason):
    bad, text = read([f"<tool_call>{block}</tool_call>on"])
    assert isinstance(bad, BadToolCall) and bad.text == block and reason in bad.reason
    assert text == Text("on")


def test_unfinished_call_is_reported_at_the_end():
    parser = ToolCallParser()
    assert parser.push('a<tool_call>{"name": "f"') == [Text("a")]
    assert parser.close() == [BadToolCall('{"name": "f"', "unfinished")]
    assert parser.push("next reply") == [Text("next reply")]
