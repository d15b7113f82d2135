"""Chinese text as the normaliser cn_tn leaves it for an error rate; see docs/evaluation.md."""

import re
from typing import Final

from fac_jax.evaluation.benchmarks.wer.chinese_numbers import read_out_numbers

# ASCII punctuation and that of Chinese text. The full-width full stop U+FF0E is not among them.
_PUNCTUATION: Final = re.compile(
    "[!-/:-@\\[-`{-~\uff01\uff1f\uff61\u3002\uff02-\uff0d\uff0f\uff1a-\uff1e\uff20\uff3b-\uff40\uff5b-\uff60\uff62-\uff64"
    "\u3001\u3003\u3008-\u3011\u3014-\u301f\u3030\u303e\u303f\u2013\u2014\u2018\u2019\u201b-\u201f\u2026\u2027\ufe4f\u00b7]"
)


def normalize(text: str) -> str:
    """Reads digits out in Chinese, and puts a blank in place of each punctuation mark."""
    return _PUNCTUATION.sub(" ", read_out_numbers(text))
