"""Tokens of UltraEval-Audio for error rates, see https://github.com/OpenBMB/UltraEval-Audio."""

from typing import Literal, TypeAlias

from fac_jax.evaluation.benchmarks.wer import chinese
from fac_jax.evaluation.benchmarks.wer.normalizers import normalize
from fac_jax.evaluation.benchmarks.wer.sacrebleu_tokens import tokenize_13a, tokenize_zh

Language: TypeAlias = Literal["en", "zh"]


def tokenize(text: str, language: Language) -> list[str]:
    """Normalizes a text with Whisper's English rules, whatever its language, and splits it into lower-case tokens."""
    text = normalize(text.lower(), "english")
    tokens = tokenize_13a(text) if language == "en" else tokenize_zh(chinese.normalize(text))
    return [token.lower() for token in tokens]
