"""What the tests of the server share."""

import io
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from fac_jax.serving import logs

if TYPE_CHECKING:
    from page_visitor import Visitor
    from playwright.sync_api import Page


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


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Visitor]":
    """A browser whose microphone plays what the visitor says."""
    from page_visitor import visiting  # playwright is not needed without a browser

    with visiting(tmp_path_factory.mktemp("microphone") / "heard.wav") as one:
        yield one


@pytest.fixture
def at(visitor: "Visitor") -> "Iterator[Callable[[str], Page]]":
    """Opens a page; whatever it says in the console, and every request to another host, is a failure."""
    from page_visitor import opening

    with opening(visitor) as open_:
        yield open_
