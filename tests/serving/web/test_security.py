"""Who is let in: keys, secrets, origins, sessions at once, rates; and how a refusal looks."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st
from served import KEY, STEADY, app_of, client_of
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from fac_jax.serving.app import App
from fac_jax.serving.config import Limits
from fac_jax.serving.security import Access, TokenBucket, allowed_origin
from fac_jax.serving.server import Server
from fac_jax.serving.web import sockets

PATH = "/v1/realtime"
SOCKETS = (PATH, "/v1/live/sessions")


@pytest.fixture(autouse=True)
def accesses(monkeypatch: pytest.MonkeyPatch) -> list[Access]:
    """Who was let in; the protocol behind the gate is one that waits for a word and says goodbye."""
    seen: list[Access] = []

    async def talk(websocket: WebSocket, server: Server, access: Access) -> None:
        seen.append(access)
        await websocket.accept(access.subprotocol)
        await websocket.send_text("hello")
        word = await websocket.receive_text()
        if word == "fail":
            raise RuntimeError("a fault")
        await websocket.close(1000)

    monkeypatch.setattr(sockets, "realtime", talk)
    monkeypatch.setattr(sockets, "live", talk)
    return seen


def opens(app: App, headers: dict[str, Any] | None = None, path: str = PATH, **settings: Any) -> None:
    with TestClient(app).websocket_connect(path, headers=headers or {}, **settings) as socket:
        assert socket.receive_text() == "hello"
        socket.send_text("bye")


def refused(app: App, headers: dict[str, Any] | None = None, path: str = PATH, **settings: Any) -> tuple[int, str]:
    """The status and the code of a refusal, which comes before anything is accepted."""
    with (
        pytest.raises(WebSocketDenialResponse) as denial,
        TestClient(app).websocket_connect(path, headers=headers or {}, **settings),
    ):
        pass
    return denial.value.status_code, denial.value.json()["error"]["code"]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.mark.parametrize("path", SOCKETS)
def test_a_key_opens_a_socket(accesses: list[Access], path: str) -> None:
    app = app_of(keys=("sk-first", KEY))
    opens(app, bearer(KEY), path)
    assert accesses == [Access("key 2")]
    for headers in ({}, bearer("sk-wrong"), bearer(KEY[:-1]), bearer(KEY + "x"), {"authorization": f"Basic {KEY}"}):
        assert refused(app, headers, path) == (401, "invalid_api_key")
    assert refused(app, {"authorization": b"Bearer \xff\xfe"}, path) == (401, "invalid_api_key")
    assert len(accesses) == 1 and not app.gate.sessions


def test_a_browser_gives_the_key_as_a_subprotocol(accesses: list[Access]) -> None:
    app = app_of(keys=(KEY,))
    offered = ["realtime", f"openai-insecure-api-key.{KEY}"]
    with TestClient(app).websocket_connect(PATH, subprotocols=offered) as socket:
        assert socket.accepted_subprotocol == "realtime"
        socket.send_text("bye")
    assert refused(app, subprotocols=["realtime", "openai-insecure-api-key.sk-wrong"])[0] == 401
    assert refused(app, subprotocols=["realtime"])[0] == 401


def test_without_keys_everybody_comes_in(accesses: list[Access]) -> None:
    app = app_of()
    opens(app)
    opens(app, bearer("whatever the SDK sends"))
    assert [access.client for access in accesses] == ["anyone", "anyone"]


def secret_of(app: App, key: str | None = None, **fields: Any) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        async with client_of(app, key) as client:
            answer = await client.post("/v1/realtime/client_secrets", json=fields)
            return answer.json() | {"status": answer.status_code}

    return asyncio.run(ask())


@pytest.mark.parametrize("keys", [(), (KEY,)])
def test_a_client_secret_opens_one_socket_with_its_session(accesses: list[Access], keys: tuple[str, ...]) -> None:
    app = app_of(keys=keys)
    secret = secret_of(app, KEY, session={"type": "realtime", "instructions": "Be brief."})["value"]
    opens(app, subprotocols=["realtime", f"openai-insecure-api-key.{secret}"])
    assert accesses[0].session is not None and accesses[0].session["instructions"] == "Be brief."
    assert accesses[0].client == ("key 1" if keys else "anyone")
    assert refused(app, bearer(secret)) == (401, "invalid_api_key")  # used
    assert refused(app, bearer("ek_unknown")) == (401, "invalid_api_key")


@pytest.mark.parametrize("shared", [False, True])
def test_a_client_secret_expires(accesses: list[Access], tmp_path: Path, shared: bool) -> None:
    app = app_of(keys=(KEY,), shared_dir=tmp_path if shared else None)
    now = 1e9
    app.gate._clock = lambda: now
    first, second = (
        secret_of(app, KEY, expires_after={"anchor": "created_at", "seconds": 10}) for _ in ("first", "second")
    )
    assert first["expires_at"] == 1e9 + 10
    now += 9
    opens(app, bearer(first["value"]))
    now += 1
    assert refused(app, bearer(second["value"]))[0] == 401
    secret_of(app, KEY)
    assert app.gate._secrets.count("key 1") == 1, "what has expired is forgotten"


def test_servers_that_share_a_folder_share_client_secrets(accesses: list[Access], tmp_path: Path) -> None:
    one, other = (app_of(keys=(KEY, "sk-b"), shared_dir=tmp_path) for _ in range(2))
    secret = secret_of(one, "sk-b", session={"instructions": "Be brief."})["value"]
    assert secret not in "".join(file.name + file.read_text() for file in tmp_path.rglob("*.json"))
    opens(other, bearer(secret))
    assert accesses[0].client == "key 2" and (accesses[0].session or {})["instructions"] == "Be brief."
    for app in (one, other):
        assert refused(app, bearer(secret)) == (401, "invalid_api_key")
    assert not list(tmp_path.rglob("*.json"))


def test_a_refused_connection_does_not_use_the_secret_up(accesses: list[Access]) -> None:
    engine = FakeEngine()
    app = app_of(engine)
    secret = secret_of(app)["value"]
    engine.ready = False
    assert refused(app, bearer(secret)) == (503, "server_full")
    engine.ready = True
    opens(app, bearer(secret))


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"session": {"type": "transcription"}}, 400, "session.type"),
        ({"session": {"model": "nothing"}}, 404, "model"),
        ({"session": {"instructions": 3}}, 400, "session.instructions"),
        ({"session": {"instructions": "x" * 200_000}}, 400, "session.instructions"),
        (
            {"session": {"tools": [{"type": "function", "name": "f", "parameters": {"a": float("inf")}}]}},
            400,
            "session",
        ),
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, 400, "expires_after.seconds"),
    ],
)
def test_a_wrong_secret_is_not_made(fields: dict[str, Any], status: int, param: str) -> None:
    async def ask() -> None:
        async with client_of(app_of()) as client:
            body = json.dumps(fields).replace("Infinity", "1e999")
            answer = await client.post("/v1/realtime/client_secrets", content=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)

    asyncio.run(ask())


def test_a_client_secret_is_no_key() -> None:
    app = app_of(keys=(KEY,))
    secret = secret_of(app, KEY)["value"]
    assert secret_of(app, secret)["status"] == 401


@pytest.mark.parametrize(
    ("origin", "host", "keyless", "allowed"),
    [
        (None, "server:8000", True, True),
        ("http://localhost:8000", "localhost:8000", True, True),
        ("http://[::1]:8000", "[::1]:8000", True, True),
        ("http://localhost:9000", "localhost:8000", True, False),
        ("https://evil.example", "localhost:8000", False, False),
        ("http://evil.example:8000", "evil.example:8000", True, False),  # a name made to point at this machine
        ("https://talk.example", "talk.example", False, True),
        ("https://page.example", "talk.example", False, True),
        ("http://page.example", "talk.example", False, False),
        ("null", "localhost:8000", True, False),
        ("http://[broken", "localhost:8000", True, False),
        ("", "", True, False),
    ],
)
def test_origins(origin: str | None, host: str, keyless: bool, allowed: bool) -> None:
    assert allowed_origin(origin, host, ["https://page.example"], keyless) == allowed


@pytest.mark.parametrize("path", SOCKETS)
def test_a_foreign_page_opens_nothing(accesses: list[Access], path: str) -> None:
    app = app_of(keys=(KEY,), origins=("https://page.example",))
    evil = bearer(KEY) | {"origin": "https://evil.example"}
    assert refused(app, evil, path) == (403, "origin_not_allowed")
    opens(app, bearer(KEY) | {"origin": "https://page.example"}, path)

    async def ask() -> None:
        async with client_of(app, KEY) as client:
            for method in ("get", "options"):
                answer = await client.request(method, "/v1/models", headers={"origin": "https://evil.example"})
                assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
            wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
            answer = await client.options("/v1/chat/completions", headers={"origin": "https://page.example"} | wanted)
            assert answer.headers["access-control-allow-origin"] == "https://page.example"

    asyncio.run(ask())


def test_a_model_that_is_not_there_has_no_socket() -> None:
    app = app_of()
    assert refused(app, path=f"{PATH}?model=nothing") == (404, "model_not_found")
    opens(app, path=f"{PATH}?model={FakeEngine.model}&call_id=unknown")


def test_sessions_at_once_are_limited(accesses: list[Access]) -> None:
    app = app_of(keys=(KEY, "sk-b", "sk-c"), limits=Limits(sessions=3, sessions_per_key=2))
    with TestClient(app) as client:  # all of one loop
        first = client.websocket_connect(PATH, headers=bearer(KEY))
        with first as one, client.websocket_connect(PATH, headers=bearer(KEY)):
            with pytest.raises(WebSocketDenialResponse) as denial, client.websocket_connect(PATH, headers=bearer(KEY)):
                pass
            assert denial.value.status_code == 429 and denial.value.headers["retry-after"] == "1"
            with (
                client.websocket_connect(PATH, headers=bearer("sk-b")),
                pytest.raises(WebSocketDenialResponse) as denial,
                client.websocket_connect(PATH, headers=bearer("sk-c")),
            ):
                pass
            assert denial.value.status_code == 503 and denial.value.json()["error"]["code"] == "server_full"
            assert "fac_sessions 2.0" in client.get("/metrics").text
            one.send_text("bye")
        assert app.gate.sessions == 0


def test_a_fault_of_the_protocol_closes_with_1011(accesses: list[Access]) -> None:
    app = app_of()
    with TestClient(app).websocket_connect(PATH) as socket:
        assert socket.receive_text() == "hello"
        socket.send_text("fail")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 1011
    assert 'fac_closed_total{code="1011"} 1.0' in app.server.metrics.text().decode()


def test_the_requests_of_a_key_are_limited() -> None:
    app = app_of(keys=(KEY, "sk-b"), limits=Limits(events_per_second=20))

    async def ask() -> None:
        async with client_of(app) as client:
            statuses = [(await client.get("/v1/models", headers=bearer(KEY))).status_code for _ in range(200)]
            assert set(statuses[:20]) == {200} and statuses.count(429) > 150
            assert (await client.get("/v1/models", headers=bearer("sk-b"))).status_code == 200

    asyncio.run(ask())


@STEADY
@given(st.lists(st.tuples(st.floats(0, 3), st.floats(0, 20)), max_size=50))
def test_a_bucket_never_gives_more_than_its_rate(takes: list[tuple[float, float]]) -> None:
    now = 0.0
    bucket = TokenBucket(4.0, 10.0, lambda: now)
    given_out = 0.0
    for wait, tokens in takes:
        now += wait
        delay = bucket.take(tokens)
        given_out += tokens if not delay else 0.0
        assert given_out <= 10.0 + 4.0 * now + 1e-6
        if delay and tokens <= 10.0:
            now += delay + 1e-9
            assert not bucket.take(tokens)
            given_out += tokens
