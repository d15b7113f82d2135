"""The refusal of a client event: an `error` is sent, and the session goes on."""

from typing import Final

INVALID_JSON: Final = "invalid_json"
INVALID_VALUE: Final = "invalid_value"
INVALID_TYPE: Final = "invalid_type"
MISSING: Final = "missing_required_parameter"


class RefusedError(Exception):
    """A client event that is not carried out.

    Attributes:
      message: one sentence for the client's developer.
      code: what programs go by.
      param: path of the field that is wrong, such as "item.content[0].audio"; None for none.
      kind: the `type` of the error.
    """

    def __init__(
        self, message: str, code: str = INVALID_VALUE, param: str | None = None, kind: str = "invalid_request_error"
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.param, self.kind = message, code, param, kind


def rate_limited(message: str) -> RefusedError:
    """Returns the refusal of what comes too often."""
    return RefusedError(message, "rate_limit_exceeded", kind="rate_limit_error")
