"""Errors as the OpenAI protocols tell them."""

from typing import Any, Final

from starlette.responses import JSONResponse

RETRY_S: Final = 1  # after which a client may ask again, unless something better is known


class ApiError(Exception):
    """What a client is told instead of an answer.

    Attributes:
      status: of HTTP.
      message: one sentence for the client's developer.
      code: what programs go by.
      param: path of the field that is wrong, such as "messages[0].content"; None for none.
      retry_after: seconds after which it is worth another try; None for never.
    """

    def __init__(
        self, status: int, message: str, code: str, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        """Returns the kind of the error, which follows from the status."""
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"

    def body(self) -> dict[str, Any]:
        """Returns the JSON body, of which `error` has message, type, param and code."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Returns the answer; Starlette turns it into a denial where the request is a WebSocket handshake."""
        headers = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        if self.status == 413:
            headers["connection"] = "close"  # the rest of the body is not read
        return JSONResponse(self.body(), self.status, headers)


def invalid(message: str, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """Returns the error 400 of a field with a wrong value."""
    return ApiError(400, message, code, param)


def full(message: str = "The server has no place for this; try again.") -> ApiError:
    """Returns the error 503 of a server that has no room."""
    return ApiError(503, message, "server_full", retry_after=RETRY_S)


def rate_limited(message: str, retry_after: int = RETRY_S) -> ApiError:
    """Returns the error 429."""
    return ApiError(429, message, "rate_limit_exceeded", retry_after=retry_after)


def model_not_found(model: str) -> ApiError:
    """Returns the error 404 of a model that is not served here."""
    return ApiError(404, f"The model {model[:100]!r} does not exist.", "model_not_found", "model")
