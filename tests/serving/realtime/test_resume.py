"""A client that has lost its connection goes on with its session."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from fake_engine import FakeEngine
from openai.types.websocket_reconnection import ReconnectingEvent, ReconnectingOverrides
from realtime_talk import Talk, append, manual, run, speech, user
from resumed_talk import again, id_of, server_of
from served import app_of, running, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fac_jax.serving.config import Limits
from fac_jax.serving.realtime import resumable
from fac_jax.serving.security import ANYONE, Access

CREATE = {"type": "response.create"}
COMMIT = {"type": "input_audio_buffer.commit"}
END = "rate_limits.updated"


def test_a_talk_goes_on_where_its_connection_was_lost() -> None:
    async def test() -> None:
        async with Talk() as talk:
            session = {"type": "realtime", "instructions": "Be kind.", "audio": {"output": {"voice": "other"}}}
            await talk.send({"type": "session.update", "session": session}, user("hi", id="item_mine"), CREATE)
            await talk.until(END)
            await talk.lose()
            async with again(talk) as more:
                created = more.of("session.created")[0]["session"]
                assert created["id"] == id_of(talk) and created["instructions"] == "Be kind."
                assert created["expires_at"] == talk.of("session.created")[0]["session"]["expires_at"]
                assert not talk.engine.forgotten, "what was computed of the conversation is still there"
                error = await more.error(
                    {"type": "session.update", "session": {"audio": {"output": {"voice": "default"}}}}
                )
                assert "after the model has spoken" in error["message"]
                await more.send(user("and now?"), CREATE)
                await more.until(END)
                request = talk.engine.requests[-1]
                assert request.session == id_of(talk)
                first, reply, last = request.conversation.turns
                assert (first.text, last.text) == ("hi", "and now?") and reply.generated is not None
                assert (
                    more.of("response.done")[0]["response"]["conversation_id"]
                    == talk.of("response.done")[0]["response"]["conversation_id"]
                )
            assert talk.engine.forgotten == [id_of(talk)], "the client has ended it"
            async with again(talk) as new:
                assert id_of(new) != id_of(talk)

    run(test)


def test_a_reply_that_was_under_way_is_kept_as_far_as_it_came() -> None:
    async def test() -> None:
        async with Talk(FakeEngine(lambda *_: ["one", " two", " three"], by_hand=True)) as talk:
            await talk.send(user("count"), CREATE, {**CREATE, "response": {"conversation": "none"}})
            talk.engine.step(2)
            await talk.settle()
            item = talk.of("response.output_item.added")[0]["item"]["id"]
            await talk.lose()
            assert [handle.ended for handle in talk.engine.handles] == ["cancelled"] * 2
            async with again(talk) as more:
                await more.send({"type": "conversation.item.retrieve", "item_id": item})
                (kept,) = more.of("conversation.item.retrieved")
                assert kept["item"]["status"] == "incomplete"
                assert kept["item"]["content"][0]["transcript"] == "one two"
                await more.ask({**CREATE}, END, step=True)
                reply = talk.engine.requests[-1].conversation.turns[1].generated
                assert reply is not None and talk.engine.text_of(reply) == "one two"

    run(test)


def test_a_connection_that_nobody_knows_to_be_dead_gives_way() -> None:
    async def test() -> None:
        async with Talk() as talk:
            await talk.send(manual(), append(speech(0.5)), COMMIT)
            async with again(talk) as more:
                assert id_of(more) == id_of(talk)
                assert await talk.closed() == 1008
                await more.ask({**CREATE}, END)
                assert talk.engine.requests[-1].conversation.turns[0].wave is not None

    run(test)


@pytest.mark.parametrize("wanted", ["sess_0123", "", "../../etc/passwd", "%00", "x" * 5000])
def test_a_session_that_is_not_there_begins_anew(wanted: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with Talk(shared=server_of(folder=tmp_path), query=f"session_id={wanted}") as talk:
            assert id_of(talk) != wanted
            await talk.alive()

    run(test)


def test_a_session_is_resumed_by_its_own_client_alone() -> None:
    async def test() -> None:
        async with Talk(access=Access("key 1")) as talk:
            async with again(talk, access=Access("key 2")) as thief:
                assert id_of(thief) != id_of(talk)
            await talk.alive()
            await talk.lose()
            async with again(talk, access=Access("key 2")) as thief:
                assert id_of(thief) != id_of(talk)
            async with again(talk, access=Access("key 1")) as more:
                assert id_of(more) == id_of(talk)

    run(test)


def test_a_session_is_kept_for_its_time_and_not_with_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumable, "SLACK_S", 0.0)

    async def test() -> None:
        server = server_of(resume_s=0.05, sessions=2)
        talks = [Talk(shared=server) for _ in range(3)]
        for talk in talks:
            async with talk:
                await talk.lose()
        assert server.engine.forgotten == [id_of(talks[0])]  # pyright: ignore[reportAttributeAccessIssue]
        await asyncio.sleep(0.1)
        assert len(server.engine.forgotten) == 3  # pyright: ignore[reportAttributeAccessIssue]
        async with again(talks[2]) as late:
            assert id_of(late) != id_of(talks[2])

    run(test)


def test_who_comes_back_to_a_full_server_is_let_in() -> None:
    engine = FakeEngine()
    app = app_of(engine, Limits(sessions=1))
    server = app.server

    with running(app) as served, contextlib.ExitStack() as talks:

        def opened(wanted: str = "") -> ClientConnection:
            url = f"ws://127.0.0.1:{served.port}/v1/realtime?session_id={wanted}"
            return talks.enter_context(connect(url, open_timeout=20))

        def id_from(talk: ClientConnection) -> str:
            return json.loads(talk.recv(timeout=20))["session"]["id"]

        def refused(wanted: str = "") -> int:
            with pytest.raises(InvalidStatus) as denial:
                opened(wanted)
            return denial.value.response.status_code

        first = opened()
        known = id_from(first)
        engine.ready = False
        assert refused() == refused("sess_0123") == 503
        second = opened(known)  # nobody knows yet that the first one is dead
        assert id_from(second) == known
        with pytest.raises(ConnectionClosed) as closing:
            first.recv(timeout=20)
        assert closing.value.rcvd is not None and closing.value.rcvd.code == 1008
        second.close(1001)
        until(lambda: server.resumable.keeps(known, ANYONE) and not app.gate.sessions)
        assert refused() == 503
        third = opened(known)
        assert id_from(third) == known
        third.close(1001)
        until(lambda: server.resumable.keeps(known, ANYONE) and not app.gate.sessions)
        engine.ready = True
        opened()
        assert refused(known) == 503, "somebody else has the only place"


def test_a_slow_reader_may_come_back() -> None:
    async def test() -> None:
        async with Talk(limits=Limits(queue_bytes=20_000)) as talk:
            talk.socket.reads.clear()
            await talk.send(user("hi"), *[{"type": "session.update", "session": {}}] * 40)
            talk.socket.reads.set()
            assert await talk.closed() == 1013
            async with again(talk) as more:
                assert id_of(more) == id_of(talk)

    run(test)


def test_the_sdk_goes_on_with_its_session() -> None:
    async def test() -> None:
        engine = FakeEngine()
        app = app_of(engine)
        asked: list[int] = []
        known: list[str] = []

        def reconnecting(event: ReconnectingEvent) -> ReconnectingOverrides:
            asked.append(event.close_code)
            return {"extra_query": {**event.extra_query, "session_id": known[0]}}

        with running(app) as server:
            client = openai.AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.port}/v1", max_retries=0)
            connecting = client.realtime.connect(model=engine.model, on_reconnecting=reconnecting, initial_delay=0.01)
            async with asyncio.timeout(20), connecting as connection:
                content: Any = [{"type": "input_text", "text": "hi"}]
                async for event in connection:
                    if event.type == "session.created":
                        known.append(str(event.session.id))
                        if len(known) == 1:
                            await connection.conversation.item.create(
                                item={"type": "message", "role": "user", "content": content}
                            )
                        await connection.response.create()
                    elif event.type == "response.done" and len(known) == 1:
                        loop = server.servers[0].get_loop()
                        asyncio.run_coroutine_threadsafe(app.sockets.close(), loop)
                    elif event.type == "response.done":
                        break
        assert asked == [1012] and known[0] == known[1]
        turns = engine.requests[-1].conversation.turns
        assert turns[0].text == "hi" and turns[1].generated is not None

    run(test)
