"""Tokens of the tool compute-wer, which the model's README names for speech recognition.

Its versions differ in the tokens and so in the error rate; see https://github.com/pengzhendong/compute-wer.
"""

import re
import unicodedata
from typing import Final, Literal, TypeAlias

Version: TypeAlias = Literal["0.2.3", "0.2.5"]

_BLANKS: Final = " \t\r\n"
_RUN: Final = re.compile(r"[^ \t\r\n\x80-\U0010ffff]*")
_TAG: Final = re.compile(r"[^> \t\r\n\x80-\U0010ffff]*>?")
# Thai and Lao, Tibetan and Myanmar, Khmer, Hiragana, Katakana, Chinese: scripts without blanks between words.
_UNSPACED: Final = re.compile(r"[\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3040-\u309f\u30a0-\u30ff\u4e00-\u9fff]")


def tokenize(
    text: str, version: Version = "0.2.3", ignore_punctuation: bool = False, to_char: bool = False
) -> list[str]:
    """Splits a text, already normalized, into upper-case tokens as the command line of compute-wer does.

    Args:
      text: reference or hypothesis.
      version: "0.2.3" (December 2025) leaves punctuation in its word and drops tags such as <unk>; "0.2.5" (June 2026)
        makes a token of each punctuation mark and symbol.
      ignore_punctuation: drops punctuation and symbols; version 0.2.5 only.
      to_char: makes a token of each letter and digit.
    """
    assert version == "0.2.5" or not ignore_punctuation, "version 0.2.3 has no ignore_punctuation"
    if version == "0.2.3":
        tokens = [re.sub("<[^>]*>", "", token) for token in _runs(text, to_char)]
    else:
        tokens = _words(text, ignore_punctuation, to_char)
    return [token.upper() for token in tokens if token]


def _runs(text: str, to_char: bool) -> list[str]:
    """Splits at blanks and before characters outside ASCII, as version 0.2.3 does.

    An accented letter within a word therefore starts a token of its own: "café" is "caf", "é".
    """
    tokens = []
    start = 0
    while start < len(text):
        char, kind = text[start], unicodedata.category(text[start])
        end = start + 1
        if char in _BLANKS or kind in ("Zs", "Cn"):
            start = end
            continue
        if kind != "Lo" and not (to_char and kind[0] in "LN"):
            found = (_TAG if char == "<" else _RUN).match(text, end)
            assert found is not None  # both patterns match the empty string
            end = found.end()
        tokens.append(text[start:end])
        start = end
    return tokens


def _words(text: str, ignore_punctuation: bool, to_char: bool) -> list[str]:
    """Groups letters and digits, with apostrophes after the first of them, as version 0.2.5 does.

    Combining marks outside the scripts without blanks are dropped and end the word.
    """
    tokens = []
    in_word = False
    for char in text:
        kind = unicodedata.category(char)[0]
        letter = kind in "LN" and not _UNSPACED.match(char)
        if in_word and not to_char and (letter or char == "'"):
            tokens[-1] += char
            continue
        in_word = letter
        if kind in "PS":
            if not ignore_punctuation:
                tokens.append(char)
        elif letter or (kind != "C" and _UNSPACED.match(char)):
            tokens.append(char)
    return tokens
