"""The recorded traffic of real clients against our server: the same events, in the same order, with the same fields."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine, Script
from realtime_talk import Talk, run

from fac_jax.serving.talk import TalkRequest

GOLDEN = Path(__file__).parents[2] / "golden" / "realtime"
SCENARIOS = sorted(
    str(path.relative_to(GOLDEN))
    for path in GOLDEN.rglob("*.jsonl")
    if path.read_text().startswith('{"dir": "client", "conn": 1, "handshake": {"method": "GET", "path": "/v1/realtime"')
)
MADE_UP = re.compile(r"\b(?:item|resp|call)_[0-9a-f]{20}\b")  # ids of a server
TRANSCRIPTION = "conversation.item.input_audio_transcription"
ARGUMENTS = "response.function_call_arguments.delta"
REPLY = ["seven", " plus", " zero", " is"]


def recorded_replies(lines: Sequence[Any]) -> Script:
    """Returns the script of an engine that says what the recorded server said."""
    events = [line["event"] for line in lines if line["dir"] == "server"]
    replies: Iterator[list[str]] = (_words(events, e["response"]) for e in events if e["type"] == "response.done")

    def script(request: TalkRequest, number: int) -> list[str]:
        return ["hello"] if request.conversation.id.startswith("trans") else next(replies)

    return script


def _words(events: Sequence[Any], response: Any) -> list[str]:
    call = next((item for item in response["output"] if item["type"] == "function_call"), None)
    if call is not None:
        return ["<tool_call>", f'{{"name": "{call["name"]}",', f' "arguments": {call["arguments"]}}}', "</tool_call>"]
    deltas = ("response.output_audio_transcript.delta", "response.output_text.delta")
    words = [e["delta"] for e in events if e["type"] in deltas and e["response_id"] == response["id"]]
    return words + REPLY * 10 if response["status"] == "cancelled" else words


def comparable(events: Sequence[Any]) -> list[Any]:
    """Returns the events that have one order.

    A transcript of the user comes whenever it is ready, and the arguments of a call in any pieces.
    """
    kept = [event for event in events if not event["type"].startswith(TRANSCRIPTION)]
    again = [one["type"] == ARGUMENTS == two["type"] for one, two in zip(kept, kept[1:], strict=False)]
    return [event for event, drop in zip(kept, [False, *again], strict=True) if not drop]


async def replay(lines: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Sends what the client of one connection sent, each line when the events before it have come.

    Audio does not wait for what only more audio brings. Returns the recorded events and ours.
    """
    async with Talk(FakeEngine(recorded_replies(lines), by_hand=True), query=lines[0]["handshake"]["query"]) as talk:
        expected: list[Any] = []
        for line in lines[1:]:
            if line["dir"] == "server":
                expected.append(line["event"])
                continue
            missing = await caught_up(talk, expected)
            if "close" in line:
                break
            message = renamed(line, expected, talk.events)
            appends = isinstance(message, dict) and message["type"] == "input_audio_buffer.append"
            assert appends or not missing, f"no {missing} before {str(message)[:100]}"
            await talk.send(json.dumps(message) if isinstance(message, dict | list) else message)
        return comparable(expected), comparable(talk.events)


async def caught_up(talk: Talk, expected: Sequence[Any]) -> set[str]:
    """Steps the engine until every event that was recorded so far has come; returns the types of those that cannot."""
    wanted = [event["type"] for event in comparable(expected)]
    while True:
        ours = [event["type"] for event in comparable(talk.events)]
        missing = {kind for kind in wanted if ours.count(kind) < wanted.count(kind)}
        if not missing or all(handle.ended for handle in talk.engine.handles):
            return missing
        talk.engine.step()
        await talk.settle()


def renamed(line: Any, expected: Sequence[Any], events: Sequence[Any]) -> Any:
    """Returns what the client sent, with the ids of our server."""
    if "raw" in line:
        return line["raw"]
    if "binary" in line:
        return bytes(line["binary"])
    ids: dict[str, str] = {}
    for theirs, ours in zip(comparable(expected), comparable(events), strict=False):
        ids |= dict(pairs(theirs, ours))
    return json.loads(MADE_UP.sub(lambda found: ids.get(found[0], found[0]), json.dumps(line["event"])))


def pairs(theirs: Any, ours: Any) -> Iterator[tuple[str, str]]:
    """Gives the ids that two events have at the same places."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in theirs.keys() & ours.keys():
            yield from pairs(theirs[key], ours[key])
    elif isinstance(theirs, str) and isinstance(ours, str) and MADE_UP.fullmatch(theirs):
        yield theirs, ours


def fields(value: Any, path: str = "") -> set[str]:
    """Returns the paths of all fields of an event."""
    if isinstance(value, dict):
        return {path}.union(*(fields(one, f"{path}.{key}") for key, one in value.items()))
    return {path}.union(*(fields(one, f"{path}[]") for one in value)) if isinstance(value, list) else {path}


def fixed(event: Any) -> dict[str, Any]:
    """Returns the fields of an event whose values the client decides, or the protocol."""
    keys = {"output_index", "content_index", "transcript", "text", "name", "arguments"}
    if not event["type"].startswith("input_audio_buffer"):
        keys.add("audio_end_ms")  # that of a truncation
    found = {key: event[key] for key in keys & event.keys()}
    for key in ("type", "role", "status", "name", "arguments", "output"):
        found["item", key] = event.get("item", {}).get(key)
    found["parts"] = [
        {key: value for key, value in part.items() if key != "audio"}
        for part in event.get("item", {}).get("content", ())
    ]
    for key in ("status", "status_details", "output_modalities", "max_output_tokens", "metadata"):
        found["response", key] = event.get("response", {}).get(key)
    for key in ("type", "code", "param", "event_id"):
        found["error", key] = event.get("error", {}).get(key)
    if found["error", "code"] == "invalid_frame":
        found["error", "code"] = "invalid_json"  # a binary frame: the recorded server had a code of its own
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_recorded_client_gets_the_events_that_it_got(name: str) -> None:
    lines = [json.loads(line) for line in (GOLDEN / name).read_text().splitlines()]
    connections = [[line for line in lines if line["conn"] == n] for n in sorted({line["conn"] for line in lines})]

    async def test() -> None:
        for connection in connections:
            if all(line["dir"] == "client" for line in connection):
                continue  # it was refused
            theirs, ours = await replay(connection)
            if name == "reconnect_after_1012.jsonl":
                ours = ours[: len(theirs)]  # that server closed the connection in place of an answer
            assert [event["type"] for event in ours] == [event["type"] for event in theirs]
            for mine, other in zip(ours, theirs, strict=True):
                assert fields(other) <= fields(mine)
                assert fixed(mine) == fixed(other)

    run(test)


def test_every_scenario_is_there() -> None:
    assert len(SCENARIOS) == 13
