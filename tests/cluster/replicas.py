"""Two replicas on Ray Serve, with the shipped model; run by `make test-cluster`."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fac_jax.demo import MODEL
from fac_jax.serving import cluster
from fac_jax.serving.cluster import LoopbackOnly
from fac_jax.serving.config import KEYS_VARIABLE
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]
KEY = "sk-cluster"
PATIENCE_S = 900.0
DRAIN_S = 30.0


class Started:
    """A cluster on this machine, of two replicas."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "experiments.serve", f"--checkpoint={MODEL}", "--name=demo", f"--port={port}"]
        command += ["--replicas=2", "--slots=2", "--context=96", f"--shared_dir={folder / 'shared'}"]
        known = {
            "PYTHONPATH": str(ROOT),
            KEYS_VARIABLE: KEY,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",
            "RAY_DEDUP_LOGS": "0",
        }
        known["JAX_COMPILATION_CACHE_DIR"] = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(folder / "cache"))
        self.process = subprocess.Popen(
            command, cwd=folder, env=os.environ | known, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._listens = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()
        assert self._listens.wait(PATIENCE_S), self.lines[-40:]
        self.base = f"http://127.0.0.1:{port}"

    def _follow(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(r"Talk to it: http://127.0.0.1:\d+/", line) or self.process.poll() is not None:
                self._listens.set()
        self._listens.set()

    def client(self, key: str = KEY) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.base}/v1", api_key=key, max_retries=0)

    def events(self, name: str) -> list[dict[str, Any]]:
        """The lines of a kind in the logs of all replicas."""
        found = [re.search(r"\{.*\}", line) for line in list(self.lines) if f'"{name}"' in line]
        return [json.loads(one[0]) for one in found if one is not None]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    started = Started(tmp_path_factory.mktemp("cluster"))
    yield started
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGINT)
        try:
            started.process.wait(60)
        except subprocess.TimeoutExpired:
            started.process.kill()


async def until(talk: AsyncRealtimeConnection, kind: str) -> list[Any]:
    events = []
    async for event in talk:
        assert event.type != "error", event
        events.append(event)
        if event.type == kind:
            return events
    raise AssertionError(f"no {kind}")


async def asks(talk: AsyncRealtimeConnection, text: str) -> str:
    """Asks in text, and returns the transcript of the spoken answer."""
    content: Any = [{"type": "input_text", "text": text}]
    await talk.conversation.item.create(item={"type": "message", "role": "user", "content": content})
    await talk.response.create()
    (item,) = (await until(talk, "response.done"))[-1].response.output
    return item.content[0].transcript


def places(served: Started) -> dict[str, list[str]]:
    """The replicas, by process, that say something of each session."""
    found: dict[str, list[str]] = {}
    for line in list(served.lines):
        if '"session.opened"' in line or '"session.closed"' in line:
            pid, session = re.search(r"pid=(\d+)", line), re.search(r"sess_\w+", line)
            assert pid is not None and session is not None
            found.setdefault(session[0], []).append(pid[1])
    return found


def test_sockets_spread_over_the_replicas_and_stay_there(served: Started) -> None:
    async def one() -> list[str]:
        async with served.client().realtime.connect(model="demo") as talk:
            return [await asks(talk, "what is two plus three") for _ in range(2)]

    async def six() -> list[list[str]]:
        return await asyncio.gather(*(one() for _ in range(6)))

    said: set[str] = set()
    for number in range(1, 6):  # Ray takes a replica that answers soon: on a busy machine it may be the same six times
        said |= {text for texts in asyncio.run(asyncio.wait_for(six(), PATIENCE_S)) for text in texts[:1]}
        deadline = time.monotonic() + 20
        while len(served.events("session.closed")) < 6 * number:
            assert time.monotonic() < deadline, served.lines[-40:]
            time.sleep(0.1)
        if len({pids[0] for pids in places(served).values()}) == 2:
            break
    assert len(said) == 1 and said != {""}, "every replica says the same"
    assert all(len(set(pids)) == 1 for pids in places(served).values()), "no talk has changed its replica"
    assert len({pids[0] for pids in places(served).values()}) == 2, "both have some"


def test_a_session_and_a_secret_are_known_to_both_replicas(served: Started) -> None:
    async def test() -> None:
        client = served.client()
        async with client.realtime.connect(model="demo") as talk:
            (created,) = await until(talk, "session.created")
            await asks(talk, "what is two plus three")
            await asyncio.sleep(2.5)
            await talk._connection.close(1001)  # as a page that is left
        for _ in range(4):  # whichever replica it comes to
            query = {"session_id": created.session.id}
            async with client.realtime.connect(model="demo", extra_query=query) as talk:
                (again,) = await until(talk, "session.created")
                assert again.session.id == created.session.id
                await talk._connection.close(1001)
            await asyncio.sleep(0.5)
        secrets = [
            (await client.realtime.client_secrets.create(session={"type": "realtime", "instructions": f"{n}"})).value
            for n in range(4)
        ]
        for number, secret in enumerate(secrets):
            async with served.client(secret).realtime.connect(model="demo") as talk:
                (created,) = await until(talk, "session.created")
                assert created.session.instructions == str(number)
            for _ in range(3):
                with pytest.raises(InvalidStatus):
                    async with served.client(secret).realtime.connect(model="demo"):
                        pass

    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


def test_refusals_come_before_the_handshake_and_requests_are_answered(served: Started) -> None:
    async def test() -> None:
        with pytest.raises(InvalidStatus) as refused:
            async with served.client("sk-wrong").realtime.connect(model="demo"):
                pass
        assert refused.value.response.status_code == 401
        asked: Any = [{"role": "user", "content": "what is two plus three"}]
        for _ in range(3):
            answer = await served.client().chat.completions.create(model="demo", messages=asked)
            assert answer.choices[0].message.content
        async with httpx.AsyncClient(base_url=served.base) as web:
            assert (await web.get("/ready")).status_code == 200
            assert (await web.get("/v1/models")).status_code == 401

    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))


def test_a_cluster_that_others_reach_needs_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEYS_VARIABLE, raising=False)
    command = [sys.executable, "-m", "experiments.serve", "--replicas=2", "--host=0.0.0.0"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 2 and "give keys" in told.stderr + told.stdout
    with pytest.raises(InputError, match="give keys"):
        cluster.app({"checkpoint": str(MODEL)})
    monkeypatch.setenv(KEYS_VARIABLE, KEY)
    assert cluster.app({"checkpoint": str(MODEL), "replicas": "2", "slots": "2"}) is not None
    with pytest.raises(InputError, match="chekpoint"):
        cluster.app({"chekpoint": str(MODEL)})


@pytest.mark.parametrize(
    ("client", "allowed"), [(("127.0.0.1", 1), True), (("::1", 1), True), (("10.0.0.9", 1), False), (None, False)]
)
def test_without_keys_a_replica_serves_its_own_machine_only(client: Any, allowed: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def ask() -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        await LoopbackOnly(app)({"type": "http", "client": client}, None, send)  # pyright: ignore[reportArgumentType]
        return statuses[0]

    assert asyncio.run(ask()) == (200 if allowed else 403)


def test_a_stop_lets_talks_end_and_takes_nobody_new(served: Started) -> None:
    async def test() -> None:
        async with served.client().realtime.connect(model="demo") as talk:
            await until(talk, "session.created")
            served.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(3)
            assert await asks(talk, "what is two plus three"), "it goes on while the replica drains"
            begun = time.monotonic()
            with pytest.raises((ConnectionClosed, InvalidStatus, OSError)):
                async with asyncio.timeout(20), connect(f"{served.base.replace('http', 'ws')}/v1/realtime"):
                    pass
            with pytest.raises((ConnectionClosed, TimeoutError)):
                async with asyncio.timeout(DRAIN_S + 30):
                    while True:
                        await talk.recv()
            assert time.monotonic() - begun < DRAIN_S + 25
        assert served.process.wait(60) == 0

    asyncio.run(asyncio.wait_for(test(), PATIENCE_S))
