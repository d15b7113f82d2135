"""All benchmarks by name."""

from typing import Final

from fac_jax.config import nearest
from fac_jax.evaluation.benchmarks.base import Rules
from fac_jax.evaluation.benchmarks.benchmark import Benchmark
from fac_jax.evaluation.benchmarks.sets import asr, open_audio_bench, speech_fc, spoken, understanding, voicebench
from fac_jax.types import InputError

BENCHMARKS: Final[dict[str, Benchmark]] = {
    one.name: one
    for family in (open_audio_bench, voicebench, spoken, understanding, asr, speech_fc)
    for one in family.BENCHMARKS
}


def named(name: str) -> list[Benchmark]:
    """Returns the benchmark of a name, or all of a family such as "voicebench".

    Raises:
      InputError: there is none; names the nearest.
    """
    if name in BENCHMARKS:
        return [BENCHMARKS[name]]
    family = [one for one in BENCHMARKS.values() if one.family == name]
    if not family:
        families = dict.fromkeys(one.family for one in BENCHMARKS.values())
        raise InputError(f"no benchmark {name!r}{nearest(name, [*BENCHMARKS, *families])}")
    return family


def checked_rules(benchmark: Benchmark, rules: Rules | None) -> Rules:
    """Returns a rule set that the benchmark has; its default if none is given.

    Raises:
      InputError: the benchmark does not have it.
    """
    if rules is None:
        return next(iter(benchmark.scorers))
    if rules not in benchmark.scorers:
        raise InputError(f"{benchmark.name} has no rules {rules!r}; known: {', '.join(benchmark.scorers)}")
    return rules
