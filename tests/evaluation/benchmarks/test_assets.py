"""Files of other projects: what is said when one is missing or damaged."""

import json
from pathlib import Path

import pytest

from fac_jax.evaluation.benchmarks.assets import FILES, Assets, help_text
from fac_jax.types import InputError


@pytest.mark.parametrize("given", [True, False])
def test_a_missing_file_is_one_line_that_says_whose_it_is_and_what_to_do(tmp_path: Path, given: bool) -> None:
    assets = Assets(tmp_path if given else None)
    for file, read in zip(
        FILES,
        (lambda: assets.phrases("mcq_official"), lambda: assets.pedant, lambda: assets.judge_prompts),
        strict=True,
    ):
        with pytest.raises(InputError) as error:
            read()
        message = str(error.value)
        assert "\n" not in message
        for part in (file.name, file.project, "--assets=DIR", "--assets_help"):
            assert part in message


def test_the_help_tells_every_file_and_where_it_goes() -> None:
    for file in FILES:
        assert f"DIR/{file.name}" in help_text() and file.project in help_text()


def test_files_are_read_when_needed_and_once(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    file = tmp_path / "phrases.json"
    file.write_text(json.dumps({"mcq_official": {"phrases": ["b", "a"]}}), "utf-8")
    assert assets.phrases("mcq_official") == ("b", "a")
    file.unlink()
    with pytest.raises(InputError, match="phrases.json"):
        assets.phrases("refusal_official")  # not in it
    file.write_text("{", "utf-8")
    with pytest.raises(InputError, match="not JSON"):
        Assets(tmp_path).phrases("mcq_official")


def test_judge_prompts_are_found_by_the_name_of_their_template(tmp_path: Path) -> None:
    (tmp_path / "judge_prompts.json").write_text(json.dumps([{"name": "one", "sha256": "0"}]), "utf-8")
    assert Assets(tmp_path).judge_prompts["one"]["sha256"] == "0"
    (tmp_path / "judge_prompts.json").write_text(json.dumps({"one": "0"}), "utf-8")
    with pytest.raises(InputError, match="no list of objects"):
        _ = Assets(tmp_path).judge_prompts
