"""Figures of several runs side by side."""

import json
from pathlib import Path

import pytest
from launchers import imported

from fac_jax.types import InputError


def run(folder: Path, report: object) -> Path:
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def test_every_figure_has_its_mean_and_spread(tmp_path: Path) -> None:
    curves = {"losses": [3, 2, 1], "environment": {"jax": "0.10"}, "resumed": True}
    runs = [run(tmp_path / f"r{i}", {"stages": {"dpo": {"text": i / 4}}, "seconds": 2, **curves}) for i in (1, 3)]
    with imported("experiments.compare") as compare:
        rows = compare.compare(runs)
        assert rows == [
            ["", "r1", "r3", "mean", "standard deviation"],
            ["stages.dpo.text", "0.250", "0.750", "0.500", "0.354"],
            ["seconds", "2.000", "2.000", "2.000", "0.000"],
        ]
        assert compare.compare(runs, "stages.") == rows[:2]
        assert compare.compare(runs[:1], "seconds")[1] == ["seconds", "2.000", "2.000", ""]
        table = compare.markdown(rows).splitlines()
        assert table[1] == "| --- | ---: | ---: | ---: | ---: |"
        assert {line.count("|") for line in table} == {6}


def test_a_figure_that_is_null_in_a_run_is_not_compared(tmp_path: Path) -> None:
    runs = [run(tmp_path / name, {"success": 0.5, "latency": value}) for name, value in (("a", 0.4), ("b", None))]
    with imported("experiments.compare") as compare:
        assert [row[0] for row in compare.compare(runs)] == ["", "success"]


def test_runs_that_cannot_be_compared_are_one_line_each(tmp_path: Path) -> None:
    whole, other = run(tmp_path / "whole", {"a": 1}), run(tmp_path / "other", {"b": 1})
    (tmp_path / "empty").mkdir()
    with imported("experiments.compare") as compare:
        for runs, told in (
            ([whole, tmp_path / "empty"], "empty/report.json cannot be read"),
            ([whole, other], "a is a figure of only one"),
        ):
            with pytest.raises(InputError, match=told):
                compare.compare(runs)
        with pytest.raises(InputError, match="no figure starts with 'c'; known are a"):
            compare.compare([whole], "c")
