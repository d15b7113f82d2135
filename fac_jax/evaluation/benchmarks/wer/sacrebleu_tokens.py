"""The tokenizers "13a" and "zh" of sacreBLEU 1.5.1, see https://github.com/mjpost/sacrebleu."""

import re
from typing import Final

_ENTITIES: Final = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))  # in this order
# Each step is a pattern and its replacement: symbols stand alone, a stop or comma does unless between digits, and so
# does a hyphen after a digit. Apostrophes and other hyphens stay in the word.
_STEPS: Final = (
    (re.compile(r"([!-&(-+/:-@\[-`{-~ ])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
# Characters that "zh" calls Chinese. U+2001 to U+2A6D are among them since a range of sacreBLEU, meant as U+20000 to
# U+2A6D6, is written with four-digit escapes; so dashes, curly quotation marks and arrows stand alone.
_CHINESE: Final = re.compile(
    "([\u2001-\u2a6d\u2e80-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31bf\u31c0-\u31ef\u3200-\u4db5\u4e00-\u9fbb"
    "\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef])"
)


def tokenize_13a(text: str) -> list[str]:
    """Splits a text as mteval-v13a does."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, char in _ENTITIES:
        text = text.replace(entity, char)
    return _split_symbols(f" {text} ")  # the blanks let a stop at either end stand alone, even beside a digit


def tokenize_zh(text: str) -> list[str]:
    """Splits a text into single Chinese characters, and the rest as "13a" does.

    Hiragana, Katakana and Hangul are not split.
    """
    return _split_symbols(_CHINESE.sub(r" \1 ", text.strip()))


def _split_symbols(text: str) -> list[str]:
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    return text.split()
