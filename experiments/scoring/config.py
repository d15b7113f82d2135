"""The config of scoring: who judges, and which models of others are used."""

import dataclasses

from fac_jax.evaluation.judges.config import JudgeConfig
from fac_jax.evaluation.speech.plugins import PluginConfig


@dataclasses.dataclass(frozen=True)
class ScoringConfig:
    """Models of others that scorers need; a row that needs one that is None is not scored.

    Attributes:
      judge: of replies.
      recogniser: writes down the speech of replies.
      mos: measures the quality of the speech of replies.
      embedder: compares replies with choices, for MMAU-Pro.
    """

    judge: JudgeConfig | None = None
    recogniser: PluginConfig | None = None
    mos: PluginConfig | None = None
    embedder: PluginConfig | None = None
