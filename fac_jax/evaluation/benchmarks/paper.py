"""The figures that the paper prints, and how it forms the overall value of a benchmark from its parts.

Source: arXiv 2512.20156, report of 20 January 2026; `paper_tables.json` holds the figures (docs/evaluation.md).
A name is that of a benchmark, "voicebench", for its overall value, or of a subset, "voicebench/ifeval". Beyond the
benchmarks of the project there are:
  ultraeval-duplex/{text,speech}/..   table 7: UltraEval-Audio asked in full duplex, scored on text or on speech
  ultraeval-duplex/turn-taking        table 7: share of questions with a right turn, in percent
  speech-quality/{utmos,asr-wer}      of the replies to Llama Questions; WER in percent
  speech-instructions/..              table 6, of a set that is not public; 1-5
"""

import functools
import importlib.resources
import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from fac_jax.evaluation.benchmarks import vstyle

OURS: Final = "Fun-Audio-Chat"
_OPEN: Final = frozenset({"speech-chatbot-alpaca-eval", "llama-questions", "speech-triavia-qa", "speech-web-questions"})
_VOICE: Final = frozenset({"alpacaeval_full", "commoneval", "sd-qa", "mmsu", "openbookqa", "ifeval", "advbench"})
_PARTS: Final[Mapping[str, frozenset[str]]] = {  # subsets whose mean is the overall value
    "openaudiobench": frozenset({"alpaca_eval", "llama_questions", "reasoning_qa", "trivia_qa", "web_questions"}),
    "voicebench": _VOICE,
    "ultraeval": _OPEN,
    "ultraeval-duplex/text": _OPEN,
    "ultraeval-duplex/speech": _OPEN,
    "speechfc": frozenset({"bfcl-single", "bfcl-parallel", "smartinteract", "ace-single", "ace-parallel"}),
}
_SCALE: Final = {"alpacaeval_full": 20.0, "commoneval": 20.0}  # VoiceBench brings 1-5 to 20-100


class Figure(NamedTuple):
    """A printed figure of one model; `table` is the number of the table, None where it is not known."""

    model: str
    value: float
    table: int | None


class Beside(NamedTuple):
    """What a report prints beside a value: the paper's models of both sizes, and the strongest others.

    A figure that the paper does not print is None.
    """

    small: Figure | None
    large: Figure | None
    peers: tuple[Figure, ...]


def overall(benchmark: str, values: Mapping[str, float]) -> float:
    """Returns the overall value of a benchmark from the values of its subsets, in the paper's units.

    Args:
      benchmark: "openaudiobench", "voicebench", "ultraeval", "speechfc", "vstyle/en", "vstyle/zh", or
        "ultraeval-duplex/text" or "ultraeval-duplex/speech". MMAU, MMSU and word error rates are formed of rows.
      values: value of every subset; of VStyle the means of the abilities, which may be some of them.

    Raises:
      ValueError: the benchmark has no overall value of parts, or its subsets are not exactly those of `values`.
    """
    if benchmark.split("/")[0] == "vstyle":
        return vstyle.overall(values)
    if benchmark not in _PARTS:
        raise ValueError(f"{benchmark} has no overall value of subsets; known: {', '.join(_PARTS)}, vstyle")
    if values.keys() != _PARTS[benchmark]:
        wrong = ", ".join(sorted(values.keys() ^ _PARTS[benchmark]))
        raise ValueError(f"overall value of {benchmark}: absent or unknown subsets {wrong}")
    return math.fsum(_SCALE.get(name, 1.0) * value for name, value in values.items()) / len(values)


def figures(name: str) -> tuple[Figure, ...]:
    """Returns the figures of all models that the paper prints for a name, in the order of its tables."""
    found = []
    for benchmark in _tables():
        for model in benchmark["models"]:
            value = _named(benchmark["benchmark"], model, name)
            if value is not None:
                found.append(Figure(model["model"], value, model["table"]))
    return tuple(found)


def peers(name: str) -> Beside:
    """Returns the figures that a report prints beside a value of this name; empty if the paper has none."""
    found = {figure.model: figure for figure in figures(name)}
    ours = {size: figure for model, figure in found.items() for size in ("-8B", "-30B-A3B") if _is_ours(model, size)}
    chosen = dict.fromkeys(peer for each in _tables() if _covers(each["benchmark"], name) for peer in each["peers"])
    return Beside(ours.get("-8B"), ours.get("-30B-A3B"), tuple(found[peer] for peer in chosen if peer in found))


def _is_ours(model: str, size: str) -> bool:
    return model.startswith(OURS) and model.endswith(size)


def _covers(benchmark: str, name: str) -> bool:
    return f"{name}/".startswith(f"{benchmark}/")


def _named(benchmark: str, model: Mapping[str, Any], name: str) -> float | None:
    if name == benchmark:
        return model.get("overall")
    return model["values"].get(name[len(benchmark) + 1 :]) if _covers(benchmark, name) else None


@functools.cache
def _tables() -> list[dict[str, Any]]:
    file = importlib.resources.files("fac_jax.evaluation.benchmarks").joinpath("paper_tables.json")
    return json.loads(file.read_text("utf-8"))["benchmarks"]
