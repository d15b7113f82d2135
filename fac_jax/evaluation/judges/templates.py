"""The prompt templates of the judges: official decoding as data, wordings of our own, official ones from a folder.

`wordings/NAME.txt` holds our wording of a template. A folder of the user's with files of the same names takes their
place; whether such a text is the official one is told by its SHA-256 in `judge_prompts.json`.
"""

import dataclasses
import functools
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from fac_jax.config import nearest
from fac_jax.evaluation.judges.base import Decoding, JudgeIdentity, Kind, Wording
from fac_jax.types import InputError

OFFICIAL: Final = "judge_prompts.json"  # SHA-256 of the official prompts, in the folder of assets
WORDINGS: Final = Path(__file__).parent / "wordings"

_GREEDY: Final = Decoding(temperature=0.0, top_p=0.95, max_tokens=1024)
_WARM: Final = Decoding(temperature=0.5, top_p=0.95, max_tokens=1024)
_WARM_3: Final = dataclasses.replace(_WARM, replies=3)
_GPT, _GPT_SYSTEM = "gpt-4o-mini", "system_gpt"
_GEMINI: Final = "gemini-2.5-pro-preview-06-05"


@dataclasses.dataclass(frozen=True)
class Template:
    """A prompt template, as the official code uses it.

    Attributes:
      placeholders: as they stand in the text, such as "{question}".
      decoding: official settings.
      model: official judge.
      system: file of the system prompt, without its ending; None if there is no system prompt.
    """

    placeholders: tuple[str, ...]
    decoding: Decoding
    model: str
    system: str | None = None


def _gpt(decoding: Decoding, *placeholders: str) -> Template:
    return Template(placeholders, decoding, _GPT, _GPT_SYSTEM)


_ANSWERED: Final = ("{question}", "{prediction}", "{answer}")
_VSTYLE: Final = Template(("{instruction_type}", "{input_instruction}"), Decoding(), _GEMINI)
VSTYLE_GROUPS: Final = ("acoustic_attributes", "instruction", "role_play", "empathy")
TEMPLATES: Final[Mapping[str, Template]] = {
    "voicebench_open": _gpt(_WARM_3, "{prompt}", "{response}"),
    "voicebench_qa": _gpt(_WARM_3, "{prompt}", "{reference}", "{response}"),
    "evalkit_open": _gpt(_WARM, "{question}", "{prediction}"),
    "evalkit_single_choice": _gpt(_GREEDY, *_ANSWERED),
    "evalkit_sd_qa": _gpt(_GREEDY, *_ANSWERED),
    "openaudiobench_alpaca_eval": _gpt(_GREEDY, "{question}", "{prediction}"),
    "openaudiobench_llama_questions": _gpt(_GREEDY, *_ANSWERED),
    "openaudiobench_reasoning_qa": _gpt(_GREEDY, *_ANSWERED),
    "openaudiobench_trivia_qa": _gpt(_GREEDY, *_ANSWERED),
    "openaudiobench_web_questions": _gpt(_GREEDY, *_ANSWERED),
    # UltraEval names the model "gpt4o-mini".
    "ultraeval_chatbot": Template(
        ("{{instruction}}", "{{response}}"), Decoding(temperature=0.0, max_tokens=2048), "gpt4o-mini"
    ),
    "mmau_pro_open": Template(
        ("{context}", "{question}", "{reference_answer}", "{model_response}"),
        Decoding(temperature=0.1, max_tokens=512),
        "Qwen2.5-7B-Instruct",
        "system_mmau_pro",
    ),
    # Big Bench Audio publishes neither its prompt nor its decoding; the model is that of its release.
    "bigbench_audio": Template(("{question}", "{answer}", "{prediction}"), Decoding(), "claude-3-5-sonnet-20241022"),
    **{f"vstyle_{language}_{group}": _VSTYLE for language in ("en", "zh") for group in VSTYLE_GROUPS},
}


@dataclasses.dataclass(frozen=True)
class Prompt:
    """The texts in use for one template.

    Attributes:
      template: the template.
      text: with placeholders.
      system: system prompt; None if the template has none.
    """

    template: Template
    text: str
    system: str | None

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the text."""
        return sha256(self.text)

    @functools.cached_property
    def system_sha256(self) -> str | None:
        """SHA-256 of the system prompt; None if there is none."""
        return None if self.system is None else sha256(self.system)

    def fill(self, fields: Mapping[str, str]) -> str:
        """Returns the text with its placeholders filled; what looks like a placeholder in a field stays as it is.

        Raises:
          ValueError: the fields are not those of the template.
        """
        values = {place: fields.get(place.strip("{}")) for place in self.template.placeholders}
        if set(fields) != {place.strip("{}") for place in values}:
            raise ValueError(f"fields {sorted(fields)} given for the placeholders {sorted(values)}")
        return re.sub("|".join(map(re.escape, values)), lambda found: str(values[found[0]]), self.text)


class Prompts:
    """The prompts in use: those of a user's folder, and ours for all others."""

    def __init__(self, folder: Path | None = None, assets: Path | None = None) -> None:
        """Reads the official hashes, and looks at the names in the folder.

        Args:
          folder: NAME.txt for any of `TEMPLATES`, and system_gpt.txt or system_mmau_pro.txt; None for our wordings.
          assets: folder of judge_prompts.json; None if there is none, and then no text is known as official.

        Raises:
          InputError: the folder is missing, has a text file of an unknown name, or a text without all placeholders of
            its template.
        """
        self._folder = folder
        self._official = _official(assets)
        known = {*TEMPLATES, *(one.system for one in TEMPLATES.values() if one.system)}
        if folder is not None and not folder.is_dir():
            raise InputError(f"{folder}: no such folder of judge prompts")
        for file in sorted(folder.glob("*.txt")) if folder is not None else []:
            if file.stem not in known:
                raise InputError(f"{file}: no judge prompt has this name{nearest(file.stem, sorted(known))}")
        self._prompts = {name: self._prompt(name, template) for name, template in TEMPLATES.items()}

    def __getitem__(self, name: str) -> Prompt:
        """Returns the prompt of a template."""
        return self._prompts[name]

    def wording(self, name: str, digest: str) -> Wording:
        """Says what a text with this SHA-256 is for a template or a system prompt."""
        if digest in self._official.get(name, ()):
            return "official prompt"
        return "own wording" if digest == sha256(_read(WORDINGS / f"{name}.txt")) else "other wording"

    def identity(
        self, kind: Kind, template: str, model: str, host: str, hashes: tuple[str, str | None], decoding: Decoding
    ) -> JudgeIdentity:
        """Says who judges by texts of a template; `hashes` are those of the prompt and of the system prompt."""
        known, system = TEMPLATES[template], TEMPLATES[template].system
        return JudgeIdentity(
            kind,
            template,
            model,
            host,
            prompt=self.wording(template, hashes[0]),
            prompt_sha256=hashes[0],
            system=None if system is None or hashes[1] is None else self.wording(system, hashes[1]),
            decoding=decoding,
            official_model=known.model,
            official_decoding=decoding == known.decoding,
        )

    def _prompt(self, name: str, template: Template) -> Prompt:
        text = self._text(name)
        missing = [place for place in template.placeholders if place not in text]
        if missing:
            raise InputError(f"{self._file(name)}: the prompt lacks the placeholder {missing[0]}")
        return Prompt(template, text, None if template.system is None else self._text(template.system))

    def _file(self, name: str) -> Path:
        own = WORDINGS / f"{name}.txt"
        given = own if self._folder is None else self._folder / own.name
        return given if given.is_file() else own

    def _text(self, name: str) -> str:
        text = _read(self._file(name))
        cut = text.removesuffix("\n")  # an editor may have ended the last line of an official text
        return cut if sha256(cut) in self._official.get(name, ()) else text


def sha256(text: str) -> str:
    """Returns the SHA-256 of a text in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: a judge prompt must be UTF-8") from error


def _official(assets: Path | None) -> Mapping[str, frozenset[str]]:
    """Official SHA-256 by names of templates and of system prompts."""
    if assets is None or not (assets / OFFICIAL).is_file():
        return {}
    found: dict[str, frozenset[str]] = {}
    for entry in json.loads((assets / OFFICIAL).read_text(encoding="utf-8")):
        found[entry["name"]] = frozenset([entry["sha256"]])
        system = TEMPLATES[entry["name"]].system
        if system is not None:
            found[system] = frozenset([entry["system_prompt_sha256"]])
    return found
