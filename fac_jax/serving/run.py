"""Runs the application on a port with uvicorn, with the limits that protect it, and stops it gently."""

import asyncio
import ipaddress
import logging
import math
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn

from fac_jax.serving import logs
from fac_jax.serving.app import App
from fac_jax.serving.config import ServerConfig
from fac_jax.types import InputError

PING_S: Final = 20.0  # between pings, and for the answer to one
GRACE_S: Final = 5  # for what is left when the talks have been closed
DEAD_S: Final = 30.0  # for which the engine may say nothing, after its warm-up


def uvicorn_config(
    app: App, host: str = "127.0.0.1", port: int = 8000, ssl_certfile: str | None = None, ssl_keyfile: str | None = None
) -> uvicorn.Config:
    """Returns uvicorn's settings for a server.

    Args:
      app: of the server.
      host: address to listen at.
      port: to listen at; 0 for any that is free.
      ssl_certfile: of HTTPS, which a browser needs for its microphone unless it runs on this machine.
      ssl_keyfile: of the certificate.

    Raises:
      InputError: others could reach the server, and it has no keys.
    """
    check_keys(host, app.server.config)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
        ws="websockets-sansio",
        ws_max_size=app.server.config.limits.message_bytes,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,  # a message that unpacks to a thousand times its size
        log_config=None,  # `serving.logs`
        access_log=False,  # it holds whole URLs
        server_header=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def check_keys(host: str, config: ServerConfig) -> None:
    """Checks that a server which others can reach has keys.

    Raises:
      InputError: it has none.
    """
    if not config.keys and not is_loopback(host):
        raise InputError(
            f"host {host} can be reached from elsewhere: give keys (FAC_API_KEYS, --keys_file), or listen at 127.0.0.1"
        )


def check_port(host: str, port: int) -> None:
    """Checks that a port is free, before a model is made ready for it; port 0 always is.

    Raises:
      InputError: another program listens there, or the host is none of this machine.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((host, port))
    except OSError as error:
        raise InputError(f"cannot listen at {host}, port {port}: {error.strerror}; choose another --port") from None


class Serving(uvicorn.Server):
    """A running server; `run` blocks. SIGTERM drains it (`App.drain`); another one, or SIGINT, stops it at once.

    A server whose engine is over ends by itself: whoever supervises the process starts another one.

    Attributes:
      failed: whether it ended so.
    """

    def __init__(self, config: uvicorn.Config, listens: Callable[[int], None] | None = None) -> None:
        """Prepares a server.

        Args:
          config: of `uvicorn_config`.
          listens: is told the port as soon as clients can connect.
        """
        super().__init__(config)
        self._listens = listens
        self._app = config.app
        self._asked_to_stop = False
        self._draining: asyncio.Task[None] | None = None
        self._alive_at = math.inf  # when the engine lived last
        self.failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        if self.started and self._listens is not None:
            self._listens(self.servers[0].sockets[0].getsockname()[1])

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Takes a signal."""
        if sig == signal.SIGTERM and not self._asked_to_stop:
            self._asked_to_stop = True
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Is called ten times a second; returns whether to stop now."""
        assert isinstance(self._app, App)
        if self._asked_to_stop and self._draining is None:
            self._draining = asyncio.create_task(self._app.drain())
        if self._draining is not None and self._draining.done():
            self.should_exit = True
        now = time.monotonic()
        if self._app.server.engine.alive:
            self._alive_at = now
        elif now - self._alive_at > DEAD_S:
            logs.event("server.engine_is_over", level=logging.ERROR)
            self.failed = self.should_exit = True
        return await super().on_tick(counter)


def is_loopback(host: str) -> bool:
    """Returns whether a host means this machine alone, to which nobody else can connect."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
