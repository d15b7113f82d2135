"""PEDANT of qa_metrics 0.2.17, in NumPy: whether a reply answers a question (docs/evaluation.md).

VoiceBench calls its share of matches `panda`. Other versions of qa_metrics give quite different shares.
"""

import collections
import dataclasses
import re
import string
import zipfile
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from etils import epath
from jaxtyping import Float

from fac_jax.evaluation.benchmarks.base import Outcome
from fac_jax.evaluation.benchmarks.language import expanded
from fac_jax.evaluation.benchmarks.summary import RIGHT, WRONG, Summary, mean_points, summarize
from fac_jax.types import InputError

_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)
_ARTICLES: Final = re.compile(r"\b(?:a|an|the)\b")
_TOKENS: Final = re.compile(r"\b\w\w+\b")
_OVERLAPS: Final = 3  # F1, precision, recall


@dataclasses.dataclass(frozen=True, eq=False)
class Pedant:
    """A linear classifier on TF-IDF features of words and on the overlap of reply and reference.

    Attributes:
      vocabulary: index of every word.
      idf: inverse document frequencies of the words, [N].
      coefficients: of the words, then of F1, precision and recall, [N + 3].
      intercept: is added to the weighted sum.
    """

    vocabulary: Mapping[str, int]
    idf: Float[np.ndarray, " N"]
    coefficients: Float[np.ndarray, " N+3"]
    intercept: float

    @classmethod
    def load(cls, path: epath.PathLike) -> "Pedant":
        """Reads a file of the arrays words (UTF-8 bytes, joined by newlines), idf, coef and intercept.

        Raises:
          InputError: the file is damaged, an array is missing, or their lengths do not belong together.
        """
        try:
            with epath.Path(path).open("rb") as file, np.load(file) as arrays:
                words = arrays["words"].tobytes().decode("utf-8").split("\n")
                idf, coefficients, intercept = arrays["idf"], arrays["coef"].ravel(), arrays["intercept"].item()
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not the weights of PEDANT: {error}; --assets_help tells its content") from None
        if not len(words) == len(idf) == len(coefficients) - _OVERLAPS:
            lengths = f"{len(words)} words, {len(idf)} idf, {len(coefficients)} coef"
            raise InputError(f"{path}: {lengths}; there are as many idf as words, and {_OVERLAPS} more coef")
        return cls({word: index for index, word in enumerate(words)}, idf, coefficients, float(intercept))

    def matches(self, question: str, reference: str, reply: str) -> bool:
        """Returns whether the reply contains the reference, or the classifier says that it answers the question."""
        reference, reply = _clean(reference), _clean(reply)
        return reference in reply or self._logit(expanded(_clean(question)), reference, reply) <= 0

    def probability(self, question: str, reference: str, reply: str) -> float:
        """Returns the probability of a match, in [0, 1]: `get_score` of qa_metrics.

        It leaves the contractions of the question as they are, so it may lie on the other side of 0.5 than `matches`.
        """
        reference, reply = _clean(reference), _clean(reply)
        if reference in reply:
            return 1.0
        return float(1 / (1 + np.exp(self._logit(_clean(question), reference, reply))))

    def _logit(self, question: str, reference: str, reply: str) -> float:
        """Returns the log-odds of no match for texts that were cleaned."""
        document = f"[CLS] {reply} [SEP] {reference} [SEP] {question} [SEP]"
        counts = collections.Counter(word for word in _TOKENS.findall(document.lower()) if word in self.vocabulary)
        index = [self.vocabulary[word] for word in counts]
        features = np.array(list(counts.values()), np.float64) * self.idf[index]
        norm = float(np.linalg.norm(features)) or 1.0
        words = float(features @ self.coefficients[index]) / norm
        return words + float(np.array(_overlap(reference, reply)) @ self.coefficients[-_OVERLAPS:]) + self.intercept


def _clean(text: str) -> str:
    """Returns lower-case words without ASCII punctuation and articles, divided by single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.translate(_PUNCTUATION).lower()).split())


def _overlap(reference: str, reply: str) -> tuple[float, float, float]:
    """Returns F1, precision and recall of the reply's set of words, contractions expanded."""
    wanted, given = (set(_clean(expanded(text)).split()) for text in (reference, reply))
    common = len(wanted & given)
    if not common:
        return 0.0, 0.0, 0.0
    precision, recall = common / len(given), common / len(wanted)
    return 2 * precision * recall / (precision + recall), precision, recall


def score(question: str, reference: str, reply: str, *, pedant: Pedant) -> Outcome:
    """Scores one row of SD-QA: 100 points for a match, 0 for none."""
    return Outcome(RIGHT if pedant.matches(question, reference, reply) else WRONG)


def summarize_pedant(outcomes: Sequence[Outcome]) -> Summary:
    """Returns `panda`, the percentage of rows that match."""
    return summarize(outcomes, {"panda": mean_points(outcomes)})
