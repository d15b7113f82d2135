"""Who may use the server: keys, client secrets, origins, sessions at once, rates."""

import asyncio
import contextlib
import dataclasses
import hmac
import math
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.websockets import WebSocket

from fac_jax.serving.client_secrets import Secret, SecretFiles, SecretsInMemory
from fac_jax.serving.server import Server
from fac_jax.serving.web.errors import ApiError, full, model_not_found, rate_limited

SUBPROTOCOL: Final = "realtime"
KEY_SUBPROTOCOL: Final = "openai-insecure-api-key."  # a browser cannot set headers; the key follows
SECRET_PREFIX: Final = "ek_"
ANYONE: Final = "anyone"  # who comes without a key to a server that has none
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")

SECRETS: Final = "secrets"  # in the folder that servers share

_SECRETS_PER_KEY: Final = 1000  # that are valid at once
_NO_SECRET: Final = "The client secret is unknown, expired or used already."


@dataclasses.dataclass(frozen=True)
class Access:
    """Who opened a connection.

    Attributes:
      client: name of the key for logs and counts, such as "key 1"; never the key.
      session: fields of the session that a client secret is bound to, as they were given; None with a server key.
      subprotocol: to accept the WebSocket with.
      model: that the client asks for, one of `Engine.models`; None for the first.
    """

    client: str = ANYONE
    session: Mapping[str, Any] | None = None
    subprotocol: str | None = None
    model: str | None = None


class TokenBucket:
    """Lets `rate` tokens a second pass, and `burst` of them at once."""

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._tokens, self._seen = burst, clock()

    def take(self, tokens: float = 1.0) -> float:
        """Takes tokens if they are there; returns 0 then, else the seconds after which they are (nothing is taken)."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._seen) * self._rate)
        self._seen = now
        if tokens > self._tokens:
            return (tokens - self._tokens) / self._rate
        self._tokens -= tokens
        return 0.0


class Gate:
    """Lets requests and connections in; one of a server."""

    def __init__(self, server: Server, clock: Callable[[], float] = time.time) -> None:
        self._server, self._clock = server, clock
        self._keys = tuple(key.encode() for key in server.config.keys)
        shared = server.shared_dir
        self._secrets = SecretsInMemory(self._now) if shared is None else SecretFiles(shared / SECRETS, self._now)
        self._open: Counter[str] = Counter()
        self._rates: dict[str, TokenBucket] = {}
        self.draining = False
        self.empty = asyncio.Event()  # set while no session is open
        self.empty.set()

    @property
    def sessions(self) -> int:
        """Returns how many sessions are open."""
        return self._open.total()

    def client(self, headers: Mapping[str, str]) -> str:
        """Returns the client of an HTTP request; a client secret opens no more than sockets.

        Raises:
          ApiError: 401, or 429 when the key has asked too often.
        """
        client = self._client_of(_bearer(headers))
        self._count(client)
        return client

    def admit(self, websocket: WebSocket, model: str | None = None, session_id: str | None = None) -> Access:
        """Returns the access of a WebSocket handshake; the client secret that it carries is used up.

        Args:
          websocket: that is not accepted yet.
          model: that the client asks for; None for the server's.
          session_id: of the session that the client wants to resume; None for a new one.

        Raises:
          ApiError: 401, 404, 429 or 503.
        """
        offered: Sequence[str] = websocket.scope["subprotocols"]
        key = _bearer(websocket.headers)
        if key is None:
            key = next((p.removeprefix(KEY_SUBPROTOCOL) for p in offered if p.startswith(KEY_SUBPROTOCOL)), None)
        subprotocol = SUBPROTOCOL if SUBPROTOCOL in offered else None
        if key is None or not key.startswith(SECRET_PREFIX):
            access = Access(self._client_of(key), None, subprotocol)
        else:
            secret = self._secrets.find(key)
            if secret is None:
                raise _unauthorized(_NO_SECRET)
            access = Access(secret.client, secret.session, subprotocol)
            model = model or secret.session.get("model")
        self._count(access.client)
        models = self._server.engine.models
        if model is not None and model not in models:
            raise model_not_found(model)
        self.check_room(access.client, session_id)
        if access.session is not None and not self._secrets.use(key or ""):
            raise _unauthorized(_NO_SECRET)
        return dataclasses.replace(access, model=model)

    def check_room(self, client: str, session_id: str | None = None) -> None:
        """Checks that a client may begin a session, or resume one.

        A session that is here already is no further load: where requests wait, it may go on. If its older connection
        is still open, the new one takes its place, and no limit is nearer than before.

        Args:
          client: who comes.
          session_id: of the session to resume; None for a new one.

        Raises:
          ApiError: 429 or 503.
        """
        limits, resumable = self._server.config.limits, self._server.resumable
        if self.draining:
            raise full("The server is about to stop.")
        if session_id is not None and resumable.runs(session_id, client):
            return
        if self._open[client] >= limits.sessions_per_key:
            raise rate_limited(f"This key has {limits.sessions_per_key} sessions, the most at once.")
        here = session_id is not None and resumable.keeps(session_id, client)
        if self.sessions >= limits.sessions or not (here or self._server.engine.ready):
            raise full()

    @contextlib.contextmanager
    def session(self, client: str) -> Iterator[None]:
        """Counts a session of a client while it lasts."""
        self._open[client] += 1
        self.empty.clear()
        self._server.metrics.sessions.set(self.sessions)
        try:
            yield
        finally:
            self._open[client] -= 1
            self._server.metrics.sessions.set(self.sessions)
            if not self.sessions:
                self.empty.set()

    def new_secret(self, client: str, session: Mapping[str, Any], seconds: float) -> tuple[str, int]:
        """Makes a client secret, and returns it with the second at which it expires.

        Raises:
          ApiError: 429, the client has too many.
        """
        if self._secrets.count(client) >= _SECRETS_PER_KEY:
            raise rate_limited("This key has too many client secrets that are not used yet.", 60)
        secret, expires_at = SECRET_PREFIX + secrets.token_urlsafe(32), int(self._clock() + seconds)
        self._secrets.put(secret, Secret(client, session, expires_at))
        return secret, expires_at

    def _now(self) -> float:
        return self._clock()

    def _client_of(self, key: str | None) -> str:
        if key is not None and key.startswith(SECRET_PREFIX):
            raise _unauthorized("A client secret opens a WebSocket only.")
        if not self._keys:
            return ANYONE
        if key is None:
            raise _unauthorized("Give a key: Authorization: Bearer KEY.")
        given = key.encode("latin-1")  # the bytes that came
        matches = [hmac.compare_digest(given, known) for known in self._keys]  # every one, whatever the first says
        if not any(matches):
            raise _unauthorized("The key is wrong.")
        return f"key {matches.index(True) + 1}"

    def _count(self, client: str) -> None:
        rate = self._server.config.limits.events_per_second
        wait = self._rates.setdefault(client, TokenBucket(rate, rate)).take()
        if wait:
            raise rate_limited(f"This key has asked more than {rate:g} times in a second.", math.ceil(wait))


def allowed_origin(origin: str | None, host: str, origins: Sequence[str], keyless: bool) -> bool:
    """Returns whether a page of an origin may talk to the server.

    Args:
      origin: header of the request; None for what is no browser.
      host: header of the request.
      origins: that are allowed besides the server's own.
      keyless: whether the server has no keys. Then its own origin is this machine alone: a foreign name that was made
        to point at it would have the right to everything.
    """
    if origin is None or origin in origins:
        return True
    try:
        parts = urlsplit(origin)
        return parts.netloc == host and (not keyless or parts.hostname in LOOPBACK)
    except ValueError:
        return False


async def deny(websocket: WebSocket, error: ApiError) -> None:
    """Refuses a WebSocket handshake, with the error as its body."""
    await websocket.send_denial_response(error.response())


def _bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, message, "invalid_api_key")
