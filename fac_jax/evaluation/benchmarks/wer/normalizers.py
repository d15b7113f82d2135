"""Text normalizers of Whisper, by name.

The rules are those of https://github.com/openai/whisper, from the package whisper-normalizer.
"""

import functools
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from whisper_normalizer.basic import BasicTextNormalizer
from whisper_normalizer.english import EnglishTextNormalizer

Normalizer: TypeAlias = Literal["english", "basic", "basic_remove_diacritics", "basic_split_letters", "none"]

_MAKERS: Final[dict[str, Callable[[], Callable[[str], str]]]] = {
    "english": EnglishTextNormalizer,
    "basic": BasicTextNormalizer,
    "basic_remove_diacritics": lambda: BasicTextNormalizer(remove_diacritics=True),
    "basic_split_letters": lambda: BasicTextNormalizer(split_letters=True),
    "none": lambda: str,
}


def normalize(text: str, normalizer: Normalizer) -> str:
    """Returns a text as a normalizer leaves it.

    Args:
      text: text as written or recognised.
      normalizer: "english" writes numbers in digits, contractions in full and British words in American spelling;
        "basic" only lower-cases and drops what is between brackets, punctuation and symbols;
        "basic_remove_diacritics" drops accents too; "basic_split_letters" puts a blank between all characters;
        "none" changes nothing.
    """
    return _make(normalizer)(text)


@functools.cache
def _make(normalizer: Normalizer) -> Callable[[str], str]:
    return _MAKERS[normalizer]()
