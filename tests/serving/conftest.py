"""What the tests of the server share."""

import io
import logging
from collections.abc import Iterator

import pytest

from fac_jax.serving import logs


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged as it is set up for operators."""
    loggers = [logging.getLogger(name) for name in ("fac_jax.serving", "uvicorn.error", "asyncio")]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    stream = io.StringIO()
    logs.set_up(stream)
    yield stream
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)
