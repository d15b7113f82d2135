"""The tokenizer: byte-level BPE of the `tokenizers` library, trained on a corpus or read from a Qwen3 folder."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers

from fac_jax.io import replacing
from fac_jax.text.prompts import TEMPLATE_TEXTS
from fac_jax.text.special_ids import IM_START, TEXT_SPECIALS, SpecialIds, speech_special_ids
from fac_jax.types import InputError

FILE: str = "tokenizer.json"
CONFIG_FILE: str = "tokenizer_config.json"
SPECIALS: tuple[str, ...] = (TEXT_SPECIALS["pad"], IM_START, *list(TEXT_SPECIALS.values())[1:])

# Qwen's published split: contractions, words with the character before them, single digits, punctuation, line breaks.
SPLIT: str = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """Turns text into ids and back. Text never becomes a special token; only the chat template writes their ids.

    Attributes:
      vocab_size: smallest size of an embedding table that holds every id.
    """

    def __init__(self, core: tokenizers.Tokenizer) -> None:
        core.encode_special_tokens = True  # a special token in a text is encoded letter by letter
        self._core = core
        self.vocab_size: int = 1 + max(core.get_vocab(with_added_tokens=True).values())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokenizer":
        """Reads a `tokenizer.json`, or the folder with it. A `tokenizer_config.json` in that folder may add tokens.

        Raises:
          InputError: a file is missing or malformed, or the id of an added token contradicts the vocabulary.
        """
        path = Path(path)
        file = path / FILE if path.is_dir() else path
        if "model" not in _read_json(file):
            raise InputError(f"not a tokenizer: {file} has no key 'model'")
        try:
            core = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{file}: no tokenizer: {error}") from error
        config = file.with_name(CONFIG_FILE)
        added = _read_json(config).get("added_tokens_decoder", {}) if config.is_file() else {}
        try:
            tokens = sorted((int(key), entry["content"], entry.get("special", False)) for key, entry in added.items())
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{config}: added_tokens_decoder is no table of tokens by id ({error})") from error
        for key, content, special in tokens:
            _add(core, content, special=special)
            have = core.token_to_id(content)
            if have != key:
                raise InputError(f"{config} gives {content} the id {key}, but {file} makes it {have}")
        for name in SPECIALS:
            if core.token_to_id(name) is not None:
                _add(core, name, special=True)  # even if the file says otherwise: text must not write it
        return cls(core)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a `tokenizer.json`; the file appears complete."""
        with replacing(path) as part:
            self._core.save(str(part))

    def with_specials(self) -> "Tokenizer":
        """Returns a copy with all our special tokens; those that were missing (in a plain Qwen3) get the last ids."""
        core = tokenizers.Tokenizer.from_str(self._core.to_str())
        for name in SPECIALS:
            _add(core, name, special=True)
        return Tokenizer(core)

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without special tokens."""
        return self._core.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids, without special tokens."""
        return self._core.decode(list(ids), skip_special_tokens=True)

    def spell(self, token_id: int) -> str:
        """Returns one id as text, special tokens included; bytes that are no whole character become U+FFFD."""
        return self._core.decode([token_id], skip_special_tokens=False)

    def token_id(self, token: str) -> int:
        """Returns the id of one token of the vocabulary.

        Raises:
          InputError: the tokenizer does not have it.
        """
        found = self._core.token_to_id(token)
        if found is None:
            raise InputError(f"tokenizer has no token {token}; add it (Tokenizer.with_specials)")
        return found

    def known_specials(self) -> dict[str, int]:
        """Returns the ids of the special tokens that the tokenizer has, by their field of `SpecialIds`."""
        found = {field: self._core.token_to_id(name) for field, name in TEXT_SPECIALS.items()}
        return {field: token for field, token in found.items() if token is not None}

    def special_ids(self, units: int) -> SpecialIds:
        """Returns the special ids of this tokenizer and of a codec with `units` ids.

        Raises:
          InputError: the tokenizer lacks special tokens; the message names all of them.
        """
        missing = [name for name in SPECIALS if self._core.token_to_id(name) is None]
        if missing:
            raise InputError(f"tokenizer lacks special tokens {', '.join(missing)}; add them (Tokenizer.with_specials)")
        text = {field: self.token_id(name) for field, name in TEXT_SPECIALS.items()}
        speech = {name: number for name, number in speech_special_ids(units).items() if name != "speech_unk"}
        return SpecialIds(**text, **speech)


def train_tokenizer(corpus: Iterable[str], vocab_size: int, path: str | os.PathLike[str]) -> Tokenizer:
    """Trains a byte-level BPE with Qwen's split, adds our special tokens as the last ids, and writes `path`.

    The fixed texts of the template count once for every text of the corpus, since every conversation repeats them.

    Args:
      vocab_size: upper bound of the vocabulary, special tokens included; a small corpus may need less.

    Raises:
      InputError: the corpus is empty, or `vocab_size` is too small for all bytes and the special tokens.
    """
    texts = list(corpus)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    least = len(alphabet) + len(SPECIALS)
    if not texts:
        raise InputError("no text to train a tokenizer on")
    if vocab_size < least:
        raise InputError(f"vocab_size {vocab_size} is too small: all bytes and special tokens take {least}")
    core = tokenizers.Tokenizer(models.BPE())
    core.normalizer = normalizers.NFC()
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIALS), initial_alphabet=sorted(alphabet), show_progress=False
    )
    core.train_from_iterator((text for row in texts for text in (row, *TEMPLATE_TEXTS)), trainer)
    tokenizer = Tokenizer(core).with_specials()
    tokenizer.save(path)
    return tokenizer


def _add(core: tokenizers.Tokenizer, token: str, *, special: bool) -> None:
    added = AddedToken(token, special=special, normalized=False)
    core.add_special_tokens([added]) if special else core.add_tokens([added])


def _read_json(file: Path) -> dict:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"tokenizer file not found: {file}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"tokenizer file is not JSON: {file}") from error
    if not isinstance(value, dict):
        raise InputError(f"tokenizer file holds no JSON object: {file}")
    return value
