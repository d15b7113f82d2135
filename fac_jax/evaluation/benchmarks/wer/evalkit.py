"""Tokens of Kimi-Audio-Evalkit for speech recognition, see https://github.com/MoonshotAI/Kimi-Audio-Evalkit."""

import re
import unicodedata
from typing import Literal, TypeAlias

from fac_jax.evaluation.benchmarks.wer import chinese
from fac_jax.evaluation.benchmarks.wer.normalizers import normalize
from fac_jax.evaluation.benchmarks.wer.sacrebleu_tokens import tokenize_zh

Language: TypeAlias = Literal["en", "zh"]


def tokenize(text: str, language: Language) -> list[str]:
    """Normalizes a text and splits it into lower-case tokens, without punctuation."""
    text = _clean(text)
    if language == "en":
        text = normalize(normalize(text, "english"), "basic")
    else:
        text = chinese.normalize(text.replace(" ", ""))
    return [token.lower() for token in tokenize_zh(text) if not _is_punctuation(token)]


def is_left_out(hypothesis: str | None) -> bool:
    """Returns whether Evalkit leaves the row out: the model gave no prediction, which a file may say as "null"."""
    return hypothesis is None or hypothesis == "null"


def _clean(text: str) -> str:
    """Turns tags such as <|en|> into blanks, and drops blanks in excess or before punctuation."""
    text = re.sub(r"<\|.*?\|>", " ", text)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r" ([!,.?;:])", r"\1", text).lstrip()


def _is_punctuation(token: str) -> bool:
    return all(unicodedata.category(char).startswith("P") for char in token)
