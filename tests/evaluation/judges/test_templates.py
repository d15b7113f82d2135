"""The prompts of the judges: ours are whole, official ones are known by their hash, a user's take their place."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fac_jax.evaluation.judges.base import Decoding
from fac_jax.evaluation.judges.templates import TEMPLATES, Prompts, sha256
from fac_jax.types import InputError

OFFICIAL, SYSTEM = "Is {response} right? {prompt} {reference}", "You are a judge."


@pytest.fixture
def assets(tmp_path: Path) -> Path:
    entry = {"name": "voicebench_qa", "sha256": sha256(OFFICIAL), "system_prompt_sha256": sha256(SYSTEM)}
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/judge_prompts.json").write_text(json.dumps([entry]))
    return tmp_path / "assets"


def folder(tmp_path: Path, **texts: str) -> Path:
    (tmp_path / "prompts").mkdir()
    for name, text in texts.items():
        (tmp_path / f"prompts/{name}.txt").write_text(text)
    return tmp_path / "prompts"


def described(prompts: Prompts) -> str:
    prompt = prompts["voicebench_qa"]
    hashes = prompt.sha256, prompt.system_sha256
    decoding = TEMPLATES["voicebench_qa"].decoding
    return prompts.identity("endpoint", "voicebench_qa", "m", "h", hashes, decoding).describe()


@pytest.mark.parametrize("name", TEMPLATES)
def test_our_wording_has_the_placeholders_of_the_official_one(name: str) -> None:
    prompt = Prompts()[name]
    assert set(re.findall(r"\{+\w+\}+", prompt.text)) == set(TEMPLATES[name].placeholders)
    fields = {place.strip("{}"): f"<{i}>" for i, place in enumerate(TEMPLATES[name].placeholders)}
    filled = prompt.fill(fields)
    assert all(value in filled for value in fields.values()) and not re.search(r"\{+\w+\}+", filled)


def test_fields_must_be_those_of_the_template() -> None:
    prompt = Prompts()["evalkit_open"]
    for fields in ({"question": "q"}, {"question": "q", "prediction": "p", "answer": "a"}):
        with pytest.raises(ValueError, match="prediction"):
            prompt.fill(fields)


def test_only_the_hash_makes_a_prompt_official(tmp_path: Path, assets: Path) -> None:
    given = folder(tmp_path, voicebench_qa=OFFICIAL)
    assert described(Prompts(None, assets)) == "m at h, own wording"
    assert described(Prompts(given, None)) == "m at h, other wording, system prompt: own wording"
    assert described(Prompts(given, assets)) == "m at h, official prompt, system prompt: own wording"
    (given / "system_gpt.txt").write_text(SYSTEM)
    assert described(Prompts(given, assets)) == "m at h, official prompt"
    (given / "voicebench_qa.txt").write_text(OFFICIAL + " ")
    assert described(Prompts(given, assets)) == "m at h, other wording, system prompt: official prompt"


def test_a_line_end_of_an_editor_does_not_change_an_official_prompt(tmp_path: Path, assets: Path) -> None:
    prompts = Prompts(folder(tmp_path, voicebench_qa=OFFICIAL + "\n"), assets)
    assert prompts["voicebench_qa"].text == OFFICIAL


def test_a_changed_decoding_is_told() -> None:
    found = Prompts().identity("endpoint", "voicebench_qa", "m", "h", ("0", None), Decoding(0.0))
    assert found.describe() == "m at h, other wording, decoding changed"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"voicebench_qa": "Is {response} right?"}, "lacks the placeholder {prompt}"),
        ({"voicebench-qa": OFFICIAL}, "did you mean voicebench_qa?"),
    ],
)
def test_wrong_prompts_are_refused_before_anything_is_asked(
    tmp_path: Path, texts: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Prompts(folder(tmp_path, **texts))
