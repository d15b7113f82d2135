"""Files of other projects that scorers need, and that are not ours to ship: they lie in one folder of the user."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any, Final

from etils import epath

from fac_jax.evaluation.benchmarks.pedant import Pedant
from fac_jax.types import InputError


@dataclasses.dataclass(frozen=True)
class AssetFile:
    """A file that a user puts into the folder of assets.

    Attributes:
      name: its path inside the folder.
      project: whose content it is.
      purpose: which scores need it.
      content: what is in it.
    """

    name: str
    project: str
    purpose: str
    content: str


PHRASES: Final = AssetFile(
    "phrases.json",
    "VoiceBench (github.com/MatthewCYM/VoiceBench) and its copies in Kimi-Audio-Evalkit and UltraEval-Audio",
    "letters of VoiceBench's MMSU and OpenBookQA, refusals of AdvBench",
    "an object of mcq_official, mcq_ultraeval, refusal_official, refusal_evalkit and refusal_ultraeval, each of them "
    '{"phrases": [..]}; in the mcq lists, which are ordered, @ stands for the letter',
)
PEDANT: Final = AssetFile(
    "pedant/weights.npz",
    "qa_metrics 0.2.17 (github.com/zli12321/qa_metrics)",
    "panda of VoiceBench's SD-QA",
    "of its TF-IDF vectorizer and its linear classifier, the arrays words (UTF-8 bytes of the vocabulary, joined by "
    "newlines), idf [N], coef [N + 3] (words, then F1, precision, recall) and intercept [1]",
)
JUDGE_PROMPTS: Final = AssetFile(
    "judge_prompts.json",
    "VoiceBench, Kimi-Audio-Evalkit, UltraEval-Audio, VStyle and MMAU-Pro",
    "naming a judge's prompt file as the official one",
    "a list of objects with the name of a template, its sha256 and its decoding",
)
FILES: Final = (PHRASES, PEDANT, JUDGE_PROMPTS)


def help_text() -> str:
    """Returns what `--assets_help` prints: every file, whose it is, what for, where it goes and what is in it."""
    lines = ["Files of other projects that some scores need; put them into one folder and give --assets=DIR."]
    for file in FILES:
        lines += [
            f"DIR/{file.name}",
            f"  from: {file.project}",
            f"  for: {file.purpose}",
            f"  content: {file.content}",
        ]
    return "\n".join(lines)


class Assets:
    """The folder of assets; every file is read when it is first needed, and once.

    Args:
      folder: the folder that holds FILES; None if the user gave none.
    """

    def __init__(self, folder: epath.PathLike | None) -> None:
        self._folder = None if folder is None else epath.Path(folder)

    def path(self, file: AssetFile) -> epath.Path:
        """Returns where a file lies.

        Raises:
          InputError: there is no folder, or the file is not in it.
        """
        how = f"it comes from {file.project}, for {file.purpose}"
        if self._folder is None:
            raise InputError(f"{file.name} is needed: {how}; give its folder by --assets=DIR, --assets_help tells more")
        path = self._folder / file.name
        if not path.exists():
            raise InputError(f"{path} not found: {how}; give its folder by --assets=DIR, --assets_help tells more")
        return path

    def phrases(self, name: str) -> tuple[str, ...]:
        """Returns a list of phrases in its order.

        Args:
          name: key of phrases.json, such as "mcq_official".

        Raises:
          InputError: the file is missing or damaged, or has no such list.
        """
        try:
            return tuple(self._phrases[name]["phrases"])
        except (KeyError, TypeError):
            raise InputError(f"{self.path(PHRASES)}: has no {name}.phrases; --assets_help tells its content") from None

    @functools.cached_property
    def pedant(self) -> Pedant:
        """The classifier of PEDANT.

        Raises:
          InputError: the file is missing or damaged.
        """
        return Pedant.load(self.path(PEDANT))

    @functools.cached_property
    def judge_prompts(self) -> Mapping[str, Mapping[str, Any]]:
        """What is known of the official judge prompts, by the name of the template.

        Raises:
          InputError: the file is missing or damaged.
        """
        found = self._json(JUDGE_PROMPTS)
        try:
            return {one["name"]: one for one in found}
        except (KeyError, TypeError):
            raise InputError(f"{self.path(JUDGE_PROMPTS)}: no list of objects with a name") from None

    @functools.cached_property
    def _phrases(self) -> Mapping[str, Any]:
        return self._json(PHRASES)

    def _json(self, file: AssetFile) -> Any:
        path = self.path(file)
        try:
            return json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}; --assets_help tells its content") from None
