"""Recorded outcomes of official scorers, scored anew: every compared field of every case and every total is equal."""

import json
import shutil
from pathlib import Path

import pytest
from launchers import called

from experiments.scoring.recorded.base import Recorded
from experiments.scoring.recorded.run import Comparison, compare, folders
from experiments.scoring.recorded.table import SCORERS
from fac_jax.types import InputError

GOLDEN = Path(__file__).parents[2] / "golden" / "evaluation"
# Their assets belong to others: make test-scorers runs these.
NOT_HERE = {"voicebench_mcq", "voicebench_advbench", "pedant", "speechfc_bfcl_released"}


@pytest.mark.parametrize("folder", folders(GOLDEN), ids=lambda folder: folder.name)
def test_every_case_and_total_is_equal(folder: Path) -> None:
    found = compare(folder, None)
    assert found.differences == () and found.cases == found.equal > 0


def test_every_scorer_is_recorded() -> None:
    assert {folder.name for folder in folders(GOLDEN)} | NOT_HERE == SCORERS.keys()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / "vstyle_judge", tmp_path / "vstyle_judge"))


def altered(folder: Path, row: int, **fields: object) -> Comparison:
    file = folder / "expected.jsonl"
    lines = file.read_text().splitlines()
    lines[row] = json.dumps({**json.loads(lines[row]), **fields})
    file.write_text("\n".join(lines) + "\n")
    return compare(folder, None)


def test_a_value_that_differs_is_found(folder: Path) -> None:
    found = altered(folder, 3, score=4.5)
    (difference,) = found.differences
    assert difference.id == "vstyle_judge-0003" and difference.field == "score" and difference.expected == 4.5
    assert found.equal == found.cases - 1


def test_a_total_that_differs_is_found(folder: Path) -> None:
    file = folder / "totals.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "unparsed": -1}))
    (difference,) = compare(folder, None).differences
    assert (difference.id, difference.field, difference.expected) == ("totals", "unparsed", -1)


def test_one_and_true_and_a_missing_field_are_not_equal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def only(outcome: dict[str, object]) -> Recorded:
        return Recorded("vstyle_judge", lambda cases, context: [outcome] * len(cases))

    monkeypatch.setitem(SCORERS, "vstyle_judge", only({"score": True}))
    assert any(one.field == "score" and one.expected == 1 for one in compare(folder, None).differences)
    assert any(one.field == "score_text" and one.got == "(absent)" for one in compare(folder, None).differences)
    monkeypatch.setitem(SCORERS, "vstyle_judge", only({"score": None, "score_text": None, "raises": "no"}))
    assert any(one.field == "raises" for one in compare(folder, None).differences)


def test_the_launcher_says_what_differs_and_exits_with_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def code(*options: str) -> str | int | None:
        with pytest.raises(SystemExit) as exit:
            called("experiments.score", f"--recorded={folder}", *options)
        return exit.value.code

    assert code() == 0
    altered(folder, 3, score=4.5)
    capsys.readouterr()
    assert code("--json") == 1
    (first,) = json.loads(capsys.readouterr().out)["vstyle_judge"]["first_differences"]
    assert first["id"] == "vstyle_judge-0003" and first["expected"] == 4.5


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no recorded scorer: .*totals.json not found"):
        folders(tmp_path)
    (tmp_path / "totals.json").write_text('{"scorer": "other"}')
    with pytest.raises(InputError, match="unknown scorer 'other'; known: "):
        compare(tmp_path, None)
