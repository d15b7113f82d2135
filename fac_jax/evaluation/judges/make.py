"""Makes the judge that a config describes."""

from pathlib import Path

from fac_jax.evaluation.judges.base import Judge
from fac_jax.evaluation.judges.config import JudgeConfig
from fac_jax.evaluation.judges.endpoint import EndpointJudge
from fac_jax.evaluation.judges.recorded import RecordedJudge
from fac_jax.evaluation.judges.stand_in import StandInJudge
from fac_jax.evaluation.judges.store import Store
from fac_jax.evaluation.judges.templates import Prompts


def make_judge(config: JudgeConfig, store_path: Path, assets: Path | None = None) -> Judge:
    """Makes a judge.

    Args:
      config: kind and settings.
      store_path: file to which an endpoint's replies are written, `judgements.jsonl`.
      assets: folder with judge_prompts.json, by which official prompts are known; None knows none.

    Raises:
      InputError: the prompts, the file of judgements or the key are missing or wrong.
    """
    if config.kind == "stand_in":
        return StandInJudge()
    prompts = Prompts(config.folder(), assets)
    if config.kind == "recorded":
        return RecordedJudge(config, store_path if config.file is None else Path(config.file), prompts)
    return EndpointJudge(config, Store(store_path), prompts)
