"""The web application of a server: every endpoint, and how it stops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response

from fac_jax.serving import logs
from fac_jax.serving.page.routes import Question, page_routes
from fac_jax.serving.security import Gate
from fac_jax.serving.server import Server
from fac_jax.serving.web.chat import chat_router
from fac_jax.serving.web.chat_request import ChatRequest
from fac_jax.serving.web.errors import ApiError
from fac_jax.serving.web.health import health_router
from fac_jax.serving.web.limits import BodyLimit
from fac_jax.serving.web.models import models_router
from fac_jax.serving.web.observed import Observed, Origins
from fac_jax.serving.web.openapi import describe
from fac_jax.serving.web.secrets import SecretRequest, secrets_router
from fac_jax.serving.web.sockets import Sockets, sockets_router


class App(FastAPI):
    """The application of a server; `make_app` makes one."""

    def __init__(self, server: Server, page: bool, questions: Sequence[Question]) -> None:
        super().__init__(
            title="fac-jax", version=version("fac_jax"), docs_url=None, redoc_url=None, lifespan=_lifespan
        )  # the pages of FastAPI load scripts from elsewhere
        self.server, self.gate = server, Gate(server)
        self.sockets = Sockets(server, self.gate)
        routers = chat_router(server, self.gate), models_router(server, self.gate), secrets_router(server, self.gate)
        for router in (*routers, health_router(server, self.gate), sockets_router(self.sockets)):
            self.include_router(router)
        if page:
            self.router.routes.extend(page_routes(questions))
        self.add_exception_handler(ApiError, self._tell)
        self.add_exception_handler(HTTPException, self._tell_http)
        self.add_exception_handler(Exception, self._tell_fault)
        describe(self, ChatRequest, SecretRequest)
        config = server.config
        self.add_middleware(BodyLimit, most=config.limits.body_bytes)
        if config.origins:
            self.add_middleware(
                CORSMiddleware,
                allow_origins=config.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after"],
            )
        self.add_middleware(Origins, origins=config.origins, keyless=not config.keys)
        self.add_middleware(Observed, metrics=server.metrics)  # the last one added is the first to be passed

    async def drain(self) -> None:
        """Stops: `/ready` says no, and nobody comes in; talks may go on for `drain_s` seconds, then they are closed."""
        if self.gate.draining:
            return
        self.gate.draining = True
        logs.event("server.draining", sessions=self.gate.sessions)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.server.config.drain_s):
                await self.gate.empty.wait()
        await self.sockets.close()

    async def _tell(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        self.server.metrics.errors.labels(error.code).inc()
        return error.response()

    async def _tell_http(self, request: Request, error: Exception) -> Response:
        """Tells what the router found: no such path, or not by this method."""
        assert isinstance(error, HTTPException)
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        response = await self._tell(request, ApiError(error.status_code, str(error.detail), code))
        response.headers.update(error.headers or {})
        return response

    async def _tell_fault(self, request: Request, error: Exception) -> Response:
        """Tells that something is wrong with the server; Starlette raises the error again, for the log."""
        return await self._tell(request, ApiError(500, "The server failed; try again.", "internal_error"))


@contextlib.asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    assert isinstance(app, App)
    yield
    await app.sockets.close()


def make_app(server: Server, page: bool = True, questions: Sequence[Question] = ()) -> App:
    """Returns the application of a server, with the page at `/` if wanted, and the questions saved for it."""
    return App(server, page, questions)
