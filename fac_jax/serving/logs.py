"""The server's log: JSON lines with ids, sizes and times; texts only if the operator wants them, audio and keys never.

A line has `time` (ISO, UTC), `level`, `event` and what belongs to the event. Lines of uvicorn and asyncio are kept to
what cannot hold anything of a client: their messages without the values in them, and of an exception its type and the
places in the code.
"""

import json
import logging
import sys
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

_NAME: Final = "fac_jax.serving"
_LOGGER: Final = logging.getLogger(_NAME)


def event(name: str, /, content: Mapping[str, Any] | None = None, level: int = logging.INFO, **fields: Any) -> None:
    """Writes a line.

    Args:
      name: of the event, such as "session.opened".
      content: what was said, by field; left out unless the log may hold it.
      level: of `logging`.
      fields: ids, sizes and times.
    """
    _LOGGER.log(level, name, extra={"fields": fields, "content": content or {}})


def exception(name: str, error: BaseException, **fields: Any) -> None:
    """Writes the line of an exception."""
    _LOGGER.error(name, exc_info=error, extra={"fields": fields, "content": {}})


class JsonLines(logging.Formatter):
    """Writes a record as a line of JSON."""

    def __init__(self, log_content: bool = False) -> None:
        super().__init__()
        self._log_content = log_content

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
        }
        if record.name == _NAME:
            line |= {"event": record.msg, **record.__dict__["fields"]}
            line |= record.__dict__["content"] if self._log_content else {}
        else:
            message = record.getMessage() if self._log_content else str(record.msg).partition("\n")[0]
            line |= {"event": record.name, "message": message}
        if record.exc_info and record.exc_info[1] is not None:
            line |= self._error(record.exc_info[1])
        return json.dumps(line, default=str)

    def _error(self, error: BaseException) -> dict[str, Any]:
        places = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        said = {"error_message": str(error)} if self._log_content else {}
        return {"error": type(error).__name__, "places": places, **said}


def set_up(stream: TextIO = sys.stdout, log_content: bool = False) -> None:
    """Sends the log of the server, of uvicorn and of asyncio to a stream, in place of what was set up before."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines(log_content))
    for name, level in ((_NAME, logging.INFO), ("uvicorn.error", logging.WARNING), ("asyncio", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)  # uvicorn tells the address of every WebSocket, with its query, at INFO
        logger.propagate = False
