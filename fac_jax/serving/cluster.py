"""The server on a Ray cluster: replicas of the same application behind the proxies of Ray Serve (docs/serving.md).

`experiments.serve --replicas=2` runs it; on a cluster whose Serve is run by others,
`serve run fac_jax.serving.cluster:app checkpoint=DIR replicas=2` deploys it.
"""

import signal
import threading
from collections.abc import Callable, Mapping
from typing import Final

import ray  # pyright: ignore[reportMissingImports] (the extra [cluster])
from ray import serve as ray_serve  # pyright: ignore[reportMissingImports]
from ray.serve import Application  # pyright: ignore[reportMissingImports]
from starlette.types import ASGIApp, Receive, Scope, Send

from fac_jax.cli import cache_compilations
from fac_jax.config import from_tree, to_tree
from fac_jax.serving import logs
from fac_jax.serving.config import ServerConfig, keys
from fac_jax.serving.run import check_keys, is_loopback
from fac_jax.serving.start import StartConfig, leave_a_core, start
from fac_jax.serving.web.errors import ApiError
from fac_jax.types import InputError

NAME: Final = "fac-jax"
GRACE_S: Final = 10.0  # after the drain, for a replica to stop by itself
NUMBERS: Final = ("slots", "context")  # fields of `StartConfig` that are no texts
ABOVE: Final = 4  # requests to a replica for each session that it admits: it refuses by itself, and says why


class Replica:
    """One server: a process with an engine of its own. A socket stays with its replica for life."""

    def __init__(self, config: StartConfig) -> None:
        """Reads the model and compiles everything; Ray sends nobody here before."""
        cache_compilations()
        leave_a_core()
        logs.set_up(log_content=config.server.log_content)
        self._started = start(config)
        self._started.warm_up()

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Returns what answers requests."""
        app = self._started.app
        return app if app.server.config.keys else LoopbackOnly(app)

    def check_health(self) -> None:
        """Is asked by Ray, which replaces a replica that raises."""
        if not self._started.engine.alive:
            raise RuntimeError("the engine hangs or is over")

    async def __del__(self) -> None:
        """Is called by Ray when the replica has drained."""
        await self._started.app.sockets.close()
        self._started.stop()


class LoopbackOnly:
    """Lets nobody in but clients on this machine: a server without keys, wherever the proxies of Serve listen."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers 403, or lets the application answer."""
        if scope["type"] in ("http", "websocket"):
            client = scope.get("client")
            if client is None or not is_loopback(client[0]):
                error = ApiError(403, "A server without keys serves its own machine only.", "keys_needed")
                return await error.response()(scope, receive, send)
        await self._app(scope, receive, send)


def application(config: StartConfig, replicas: int, gpus: float = 0.0) -> Application:
    """Returns the application for `ray.serve.run`.

    Args:
      config: what each replica serves.
      replicas: servers.
      gpus: of each.
    """
    drain_s, sessions = config.server.drain_s, config.server.limits.sessions
    deployment = ray_serve.deployment(
        name=NAME,
        num_replicas=replicas,
        max_ongoing_requests=ABOVE * sessions,
        ray_actor_options={"num_gpus": gpus},
        graceful_shutdown_timeout_s=drain_s + GRACE_S,
    )(ray_serve.ingress()(Replica))
    return deployment.bind(config)


def app(args: Mapping[str, str]) -> Application:
    """Returns the application for `serve run fac_jax.serving.cluster:app NAME=VALUE ..`.

    Args:
      args: checkpoint, and name, codec, quantize, detector, shared_dir, record_dir, slots, context, keys_file, replicas
        and gpus where they differ from `StartConfig`; as texts.

    Raises:
      InputError: an argument is unknown or missing, or there are no keys: others can reach a cluster.
    """
    given = dict(args)
    replicas, gpus = int(given.pop("replicas", "1")), float(given.pop("gpus", "0"))
    config = ServerConfig(keys=keys(given.pop("keys_file", None)))
    check_keys("0.0.0.0", config)
    numbers = {name: int(given[name]) for name in NUMBERS if name in given}
    return application(from_tree(StartConfig, given | numbers | {"server": to_tree(config)}), replicas, gpus)


def serve(
    config: StartConfig,
    replicas: int,
    listens: Callable[[int], None],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    ssl_certfile: str | None = None,
    ssl_keyfile: str | None = None,
    address: str | None = None,
    gpus: float = 0.0,
) -> None:
    """Serves until SIGTERM, at which running talks may go on for `drain_s`; Ctrl-C stops at once.

    Args:
      config: what each replica serves.
      replicas: servers.
      listens: is told the port once every replica is ready.
      host: address at which the proxies listen.
      port: of the proxies.
      ssl_certfile: of HTTPS.
      ssl_keyfile: of the certificate.
      address: of a Ray cluster; None for one on this machine, which ends with this call.
      gpus: of each replica.

    Raises:
      InputError: others could reach the server, and it has no keys; or the cluster cannot be reached.
    """
    check_keys(host, config.server)
    own = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}  # nobody else joins it
    try:
        ray.init(address, **own)
    except (ConnectionError, ValueError) as error:
        raise InputError(f"--ray_address={address}: {error}") from None
    options = {"host": host, "port": port, "ssl_certfile": ssl_certfile, "ssl_keyfile": ssl_keyfile}
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        ray_serve.start(http_options=options)
        ray_serve.run(application(config, replicas, gpus), name=NAME)
        listens(port)
        stopped.wait()
        ray_serve.delete(NAME)
    finally:
        ray_serve.shutdown()
        ray.shutdown()
