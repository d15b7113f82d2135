"""What every endpoint of a server has at hand."""

import dataclasses
from collections.abc import Callable

from fac_jax.serving.config import ServerConfig
from fac_jax.serving.detect.base import TurnDetector, TurnSettings
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.talk import Engine


@dataclasses.dataclass(frozen=True)
class Server:
    """A server: its engine, its settings, what makes a detector for a stream, and its metrics."""

    engine: Engine
    config: ServerConfig
    detector: Callable[[TurnSettings], TurnDetector]
    metrics: Metrics
