"""Asks a judge many things, until it is killed: python judge_run.py URL FILE COUNT."""

import sys
from pathlib import Path

from fac_jax.evaluation.judges.base import Request
from fac_jax.evaluation.judges.config import JudgeConfig
from fac_jax.evaluation.judges.make import make_judge


def requests(count: int) -> list[Request]:
    """Returns so many different requests."""
    return [Request(f"row {i}", "evalkit_open", {"question": f"q{i}.", "prediction": f"p{i}."}) for i in range(count)]


def config(url: str) -> JudgeConfig:
    """Returns a judge at an address, in four threads."""
    return JudgeConfig(base_url=url, model="judge", key_variable="", threads=4)


if __name__ == "__main__":
    judge = make_judge(config(sys.argv[1]), Path(sys.argv[2]))
    for _ in judge.ask(requests(int(sys.argv[3])), lambda replies: True):
        pass
