"""The public tools for error rates by name, see docs/evaluation.md."""

import functools
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

from fac_jax.evaluation.benchmarks.base import Rules
from fac_jax.evaluation.benchmarks.wer import compute_wer, evalkit, ultraeval
from fac_jax.evaluation.benchmarks.wer.edits import ErrorRate, RowErrors, Tokenizer, compare, corpus_error_rate
from fac_jax.evaluation.benchmarks.wer.normalizers import Normalizer, normalize

Language: TypeAlias = Literal["en", "zh"]
Tool: TypeAlias = Literal[
    "compute_wer_0.2.3", "compute_wer_0.2.5", "compute_wer_0.2.5_ignore_punctuation", "evalkit", "ultraeval"
]

# Tool of each rule set. The model's README names compute-wer; 0.2.3 was current when the paper appeared.
TOOLS: Final[dict[Rules, Tool]] = {
    "official": "compute_wer_0.2.3",
    "evalkit": "evalkit",
    "ultraeval": "ultraeval",
    "strict": "compute_wer_0.2.3",
}
# Whisper normalizer that comes before compute-wer.
NORMALIZERS: Final[dict[Language, Normalizer]] = {"en": "english", "zh": "basic"}


def score(pairs: Iterable[tuple[str, str]], tool: Tool, language: Language) -> tuple[list[RowErrors], ErrorRate]:
    """Compares the hypotheses of a corpus with their references.

    Args:
      pairs: reference and hypothesis of each row.
      tool: the tool whose tokens are counted.
      language: language of the corpus.

    Returns:
      The errors of each row, in order, and those of the corpus.
    """
    split = tokenizer(tool, language)
    rows = [compare(reference, hypothesis, split) for reference, hypothesis in pairs]
    return rows, corpus_error_rate(rows)


def tokenizer(tool: Tool, language: Language) -> Tokenizer:
    """Returns what normalizes a text of a language and splits it into tokens as a tool does."""
    if tool == "evalkit":
        return functools.partial(evalkit.tokenize, language=language)
    if tool == "ultraeval":
        return functools.partial(ultraeval.tokenize, language=language)
    return compute_wer_tokenizer(tool, NORMALIZERS[language])


def compute_wer_tokenizer(tool: Tool, normalizer: Normalizer, to_char: bool = False) -> Tokenizer:
    """Returns what normalizes a text and splits it into tokens as a version of compute-wer does.

    Args:
      tool: one of the tools whose names start with "compute_wer".
      normalizer: normalizer of Whisper that comes first.
      to_char: makes a token of each letter and digit.
    """
    version = "0.2.3" if tool == "compute_wer_0.2.3" else "0.2.5"
    ignore_punctuation = tool.endswith("ignore_punctuation")
    return lambda text: compute_wer.tokenize(normalize(text, normalizer), version, ignore_punctuation, to_char)
