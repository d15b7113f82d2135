"""Recorded outcomes of the tools for error rates."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from experiments.scoring.recorded.base import Context, Recorded, Row
from fac_jax.evaluation.benchmarks.wer import evalkit, ultraeval
from fac_jax.evaluation.benchmarks.wer.edits import (
    ErrorRate,
    RowErrors,
    Tokenizer,
    compare,
    corpus_error_rate,
    edit_distance,
)
from fac_jax.evaluation.benchmarks.wer.normalizers import normalize
from fac_jax.evaluation.benchmarks.wer.tools import Tool, compute_wer_tokenizer

# Tool of each part of the recorded outcomes of compute-wer.
_VERSIONS: Final[dict[str, Tool]] = {
    "v0.2.3": "compute_wer_0.2.3",
    "v0.2.5": "compute_wer_0.2.5",
    "v0.2.5_ignore_punctuation": "compute_wer_0.2.5_ignore_punctuation",
}


def _normalized(cases: Sequence[Row], context: Context) -> list[Row]:
    return [{"text": normalize(case["text"], case["normalizer"])} for case in cases]


def _compute_wer(cases: Sequence[Row], context: Context) -> list[Row]:
    return [{version: _compute_wer_outcome(case, tool) for version, tool in _VERSIONS.items()} for case in cases]


def _compute_wer_outcome(case: Row, tool: Tool) -> Row:
    outcome = _outcome(case, compute_wer_tokenizer(tool, case["normalizer"], case["to_char"]))
    return outcome | {"n": len(outcome["ref_tokens"])}


def _compute_wer_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    groups = [case["normalizer"] + ("/char" if case["to_char"] else "") for case in cases]
    return {
        version: {
            group: {
                "n": rate.reference_tokens,
                "errors": rate.errors,
                "sentence_errors": rate.sentence_errors,
                "sentences": rate.sentences,
            }
            for group, rate in _rates(groups, [outcome[version] for outcome in outcomes]).items()
        }
        for version in _VERSIONS
    }


def _evalkit(cases: Sequence[Row], context: Context) -> list[Row]:
    return [_outcome(case, functools.partial(evalkit.tokenize, language=case["language"])) for case in cases]


def _evalkit_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    rates = _rates([case["language"] for case in cases], outcomes)
    return {
        "per_language": {
            language: {
                "wer": rate.errors / rate.reference_tokens,
                "wer_percent_round2": round(100 * rate.errors / rate.reference_tokens, 2),
                "rows": rate.sentences,
            }
            for language, rate in rates.items()
        }
    }


def _ultraeval(cases: Sequence[Row], context: Context) -> list[Row]:
    return [_ultraeval_outcome(case) for case in cases]


def _ultraeval_outcome(case: Row) -> Row:
    # "13a" names the tokenizer of English text.
    language = "zh" if case["language"] == "zh" else "en"
    outcome = _outcome(case, functools.partial(ultraeval.tokenize, language=language))
    if not outcome["ref_tokens"]:
        # Each case was a corpus of its own, and the official code divides by the number of reference tokens.
        del outcome["errors"]
        outcome["raises"] = "no reference tokens"
    return outcome


def _ultraeval_totals(cases: Sequence[Row], outcomes: Sequence[Row]) -> Row:
    rates = _rates([case["language"] for case in cases], outcomes)
    return {
        "per_language": {
            language: {"wer_percent": rate.percent, "rows": rate.sentences} for language, rate in rates.items()
        }
    }


def _outcome(case: Row, tokenizer: Tokenizer) -> Row:
    row = compare(case["ref"], case["hyp"], tokenizer)
    return {"ref_tokens": list(row.reference), "hyp_tokens": list(row.hypothesis), "errors": row.errors}


def _rates(groups: Sequence[str], outcomes: Iterable[Row]) -> Mapping[str, ErrorRate]:
    """Returns the error rate of each group of cases."""
    rows: dict[str, list[RowErrors]] = {}
    for group, outcome in zip(groups, outcomes, strict=True):
        reference, hypothesis = outcome["ref_tokens"], outcome["hyp_tokens"]
        row = RowErrors(tuple(reference), tuple(hypothesis), edit_distance(reference, hypothesis))
        rows.setdefault(group, []).append(row)
    return {group: corpus_error_rate(found) for group, found in rows.items()}


SCORERS: Final[tuple[Recorded, ...]] = (
    Recorded("whisper_normalizer", _normalized),
    Recorded("compute_wer", _compute_wer, _compute_wer_totals, frozenset({"sub", "del", "ins", "line"})),
    Recorded("ultraeval_wer", _ultraeval, _ultraeval_totals),
    Recorded("evalkit_wer_en", _evalkit, _evalkit_totals),
    Recorded("evalkit_wer_zh", _evalkit, _evalkit_totals),
    Recorded("evalkit_wer_zh_numbers", _evalkit, _evalkit_totals),
)
