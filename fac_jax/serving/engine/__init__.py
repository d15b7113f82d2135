"""The engine of the server: replies to many conversations side by side, in slots (docs/serving.md)."""

from fac_jax.serving.engine.config import EngineConfig
from fac_jax.serving.engine.engine import TalkEngine, make_engine

__all__ = ["EngineConfig", "TalkEngine", "make_engine"]
