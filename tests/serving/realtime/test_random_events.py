"""Random events of a client, whole and broken, against the core of a session: it always goes on."""

import base64
import copy
import json
from typing import Any

import numpy as np
from energy_turns import EnergyTurns
from fake_engine import FakeEngine, tone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from realtime_talk import check

from fac_jax.batching.conversation import GeneratedReply
from fac_jax.serving.config import Limits, ServerConfig
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.realtime.desk import Ask, Close, Stop, Take
from fac_jax.serving.realtime.session import Session
from fac_jax.serving.server import Server
from fac_jax.serving.talk import Audio, Began, Ended, Step

LIMITS = Limits(events_per_second=1e9, audio_rate=1e9, audio_burst_s=1e9, items=12, turn_s=3.0, text_bytes=200)
TEXTS = st.sampled_from(["", "hello", "café 😀", "x" * 300, "<tool_call>", "\x00"])
WORDS = ["one", " two", "\n", "<tool_call>", '{"name": "f", "arguments": {"a": 1}}', "{broken", "</tool_call>", ""]
REASONS = ["limit", "full", "failed", "cancelled"]
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SOUNDS = [
    base64.b64encode((tone(s, 24_000, 220, v) * 32_000).astype("<i2").tobytes()).decode()
    for s, v in ((0.3, 0.5), (0.7, 0), (1.5, 0.5))
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "audio", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
NO_EVENTS = ["", "{", "[1]", "3", '{"type": NaN}', '{"a": "\\ud800"}', '{"a":1,"a":2}', "[" * 99, b"\x00", "{}"]
SESSION = st.fixed_dictionaries(
    {},
    optional={
        "output_modalities": st.sampled_from([["text"], ["audio"], ["text", "audio"]]),
        "instructions": TEXTS,
        "max_output_tokens": st.sampled_from([1, 4096, "inf", 0]),
        "tools": st.sampled_from([[], [TOOL], [TOOL, TOOL]]),
        "tool_choice": st.sampled_from(["auto", "none", "required", {"type": "function", "name": "f"}]),
        "truncation": st.sampled_from(["auto", "disabled", {"type": "retention_ratio", "retention_ratio": 0.5}]),
        "audio": st.sampled_from(
            [
                {"input": {"turn_detection": None}},
                {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 1000}}},
                {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}},
                {"input": {"turn_detection": {"type": "semantic_vad", "create_response": False}}},
                {"input": {"format": {"type": "audio/pcmu"}, "transcription": {}}},
                {"output": {"format": {"type": "audio/pcma"}, "voice": "other"}},
                {"input": {"format": {"type": "audio/pcm"}}, "output": {"format": {"type": "audio/pcm"}}},
            ]
        ),
    },
)


class Talk(RuleBasedStateMachine):
    """A client, an engine and a clock that do what they like."""

    @initialize(steps=st.booleans())
    def begin(self, steps: bool) -> None:
        self.engine = FakeEngine(context=400)
        self.now = 0.0
        server: Any = Server(self.engine, ServerConfig(limits=LIMITS), EnergyTurns, Metrics())
        self.session = Session(server, lambda: self.now, lambda: self.now, model=FakeEngine.model, steps=steps)
        self.ids, self.asks, self.takes = ["root", "item_1"], {}, []
        self.open: dict[str, set[str]] = {}  # responses that are under way, with their open items
        self.updated = self.errors = 0
        self.do(self.session.start())

    def do(self, outs: list[Any]) -> None:
        for out in outs:
            if isinstance(out, dict):
                check(json.loads(json.dumps(out)))
                self.follow(out)
            elif isinstance(out, Ask):
                assert self.engine.positions(out.request.conversation) + out.request.limit <= self.engine.context
                self.asks[out.reply_id] = out.request, 0
            elif isinstance(out, Stop):
                assert out.reply_id in self.asks
            elif isinstance(out, Take):
                self.takes.append(out)
            else:
                assert not isinstance(out, Close), "nothing here is a reason to close"

    def follow(self, event: dict[str, Any]) -> None:
        kind, response = event["type"], event.get("response_id")
        self.updated += kind == "session.updated"
        self.errors += kind == "error"
        if kind == "response.created":
            self.open[event["response"]["id"]] = set()
            self.ids.append(event["response"]["id"])
        elif kind == "response.done":
            assert not self.open.pop(event["response"]["id"]), "an item is left open"
        elif kind == "response.output_item.added":
            self.open[response or ""].add(event["item"]["id"])
        elif kind == "response.output_item.done":
            self.open[response or ""].remove(event["item"]["id"])
        elif kind.startswith("response."):
            assert event["item_id"] in self.open[response or ""], "news of an item that is not open"
        elif kind == "conversation.item.added":
            self.ids.append(event["item"]["id"])

    def send(self, event: Any) -> None:
        for outs in self.session.receive(event if isinstance(event, str | bytes) else json.dumps(event)):
            self.do(outs)

    def an_id(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(self.ids[-6:]))

    def an_item(self, data: st.DataObject) -> dict[str, Any]:
        role = data.draw(st.sampled_from(["system", "user", "assistant"]))
        parts = {
            "system": ["input_text"],
            "user": ["input_text", "input_audio"],
            "assistant": ["output_text", "output_audio"],
        }
        kinds = st.sampled_from(parts[role])
        content = [
            {"type": kind, "text": data.draw(TEXTS), "transcript": "said", "audio": SOUNDS[0]}
            for kind in data.draw(st.lists(kinds, max_size=3))
        ]
        items = [
            {"type": "message", "role": role, "content": content},
            {"type": "function_call", "name": "f", "arguments": data.draw(TEXTS), "call_id": "c"},
            {"type": "function_call_output", "call_id": "c", "output": data.draw(TEXTS)},
        ]
        item = data.draw(st.sampled_from(items))
        return item | ({"id": self.an_id(data)} if data.draw(st.booleans()) else {})

    def an_event(self, data: st.DataObject) -> dict[str, Any]:
        kind = data.draw(
            st.sampled_from(
                [
                    "session.update",
                    "input_audio_buffer.append",
                    "input_audio_buffer.append",
                    "input_audio_buffer.commit",
                ]
                + [
                    "input_audio_buffer.clear",
                    "conversation.item.create",
                    "conversation.item.retrieve",
                    "response.create",
                ]
                + ["conversation.item.truncate", "conversation.item.delete", "response.create", "response.cancel"]
            )
        )
        event: dict[str, Any] = {"type": kind}
        if kind == "session.update":
            event["session"] = data.draw(SESSION)
        elif kind == "input_audio_buffer.append":
            event["audio"] = data.draw(st.sampled_from(SOUNDS))
        elif kind == "conversation.item.create":
            event |= {"item": self.an_item(data), "previous_item_id": data.draw(st.none() | st.sampled_from(self.ids))}
        elif kind == "conversation.item.truncate":
            ms = data.draw(st.sampled_from([0, 100, 200, 250, 100_000, -1]))
            event |= {"item_id": self.an_id(data), "content_index": 0, "audio_end_ms": ms}
        elif kind.startswith("conversation.item"):
            event["item_id"] = self.an_id(data)
        elif kind == "response.create":
            event["response"] = data.draw(SESSION) | {"metadata": {"a": "b"}}
            if data.draw(st.booleans()):
                references = [{"type": "item_reference", "id": self.an_id(data)}, self.an_item(data)]
                event["response"] |= {"conversation": "none", "input": references}
        elif kind == "response.cancel" and data.draw(st.booleans()):
            event["response_id"] = self.an_id(data)
        return event

    @rule(data=st.data())
    def whole(self, data: st.DataObject) -> None:
        self.send(self.an_event(data))

    @rule(data=st.data())
    def broken(self, data: st.DataObject) -> None:
        if data.draw(st.integers(0, 7)) == 0:
            return self.send(data.draw(st.sampled_from(NO_EVENTS)))
        event = copy.deepcopy(self.an_event(data))
        where = event
        while True:  # go down to any object in it
            inner = [value for value in where.values() if isinstance(value, dict) and value]
            if not inner or data.draw(st.booleans()):
                break
            where = data.draw(st.sampled_from(inner))
        key = data.draw(st.sampled_from(sorted(where)))
        if data.draw(st.booleans()):
            del where[key]
        else:
            where[key] = data.draw(JSON)
        self.send(event)

    @rule(data=st.data(), times=st.integers(1, 5), reason=st.sampled_from(["", "", "stop", "stop", *REASONS]))
    def the_engine(self, data: st.DataObject, times: int, reason: Any) -> None:
        if not self.asks:
            return
        reply_id = data.draw(st.sampled_from(list(self.asks)))
        request, steps = self.asks[reply_id]
        if not steps:
            self.do(self.session.follow(reply_id, Began(0.0, 0.0, 20, 10, 5)))
        for number in range(steps, steps + times):
            units = np.zeros(5 if request.spoken else 0, np.int32)
            self.do(self.session.follow(reply_id, Step(number, 1, data.draw(st.sampled_from(WORDS)), units)))
            if request.spoken:
                seconds = data.draw(st.sampled_from([0.01, 0.2, 1.0]))
                self.do(self.session.follow(reply_id, Audio(tone(seconds, self.engine.rate))))
        self.asks[reply_id] = request, steps + times
        if reason:
            del self.asks[reply_id]
            ids = np.array([self.engine.id_of("one")] * (steps + times) + [0], np.int32)
            reply = None if reason == "full" else GeneratedReply(ids, np.zeros((steps + times, 5), np.int32))
            self.do(self.session.follow(reply_id, Ended(reason, reply)))

    @rule()
    def audio_is_taken(self) -> None:
        if self.takes:
            take = self.takes.pop(0)
            take.listening.state = "closed"
            self.do(self.session.taken(take.item_id, take.listening.wave, None))

    @rule(seconds=st.sampled_from([0.1, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.session.tick())

    @invariant()
    def it_answers(self) -> None:
        before = self.updated
        self.send({"type": "session.update", "session": {"type": "realtime"}})
        assert self.updated == before + 1


Talk.TestCase.settings = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    database=None,
)
TestRandomEvents = Talk.TestCase
