"""Runs on rows of one's own go on where they were, and notice rows that are others now."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import psutil
import pytest
from record_run import begin, dialogues, make_config, run

from fac_jax.checkpoint.export import load_params
from fac_jax.types import InputError

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_rows_that_change_under_a_run_are_noticed_and_other_runs_share_what_was_prepared(
    initial: Path, tmp_path: Path
) -> None:
    rows = dialogues(tmp_path, 4)
    config = make_config(initial, {"mine": {"path": str(rows)}})
    run(config, tmp_path)
    (made,) = (tmp_path / "data" / "prepared").glob("mine-*/dataset_info.json")
    before = made.stat().st_ino
    run(config, tmp_path, "second")
    assert made.stat().st_ino == before
    dialogues(tmp_path, 5)
    with pytest.raises(InputError, match=r"data\.sets\.mine: its rows changed since the run in .*run started: restore"):
        begin(config, tmp_path)
    run(config, tmp_path, "third")
    assert len(list((tmp_path / "data" / "prepared").glob("mine-*/dataset_info.json"))) == 2


def test_rows_are_known_again_where_they_are_moved_to(initial: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "here", tmp_path / "there"]
    for folder in folders:
        folder.mkdir()
    here, there = (begin(make_config(initial, {"mine": {"path": str(dialogues(one, 4))}}), one) for one in folders)
    assert here.checksum() == there.checksum()
    more = begin(make_config(initial, {"mine": {"path": str(dialogues(folders[1], 5))}}), folders[1], "more")
    assert more.checksum() != here.checksum()


@pytest.mark.slow  # tests/training/test_loop.py and tests/launchers/test_several_hosts.py kill runs too
def test_a_killed_run_resumes_as_if_nothing_had_happened(initial: Path, tmp_path: Path) -> None:
    rows = dialogues(tmp_path, 11)
    sets = {"mine": {"path": str(rows), "waves": {"noise": {"probability": 1.0}, "speed": {}}}}
    # A process of its own, to be killed, whose rows another process makes; the run goes on without that.
    program = (
        "import sys, pathlib; sys.path[:0] = sys.argv[1:3]; from record_run import *; "
        "run(make_config(pathlib.Path(sys.argv[3]), eval(sys.argv[4]), steps=14, checkpoint_every=2, "
        "data={'workers': 1}), pathlib.Path(sys.argv[5]), 'killed')"
    )
    command = [
        sys.executable,
        "-c",
        program,
        str(ROOT),
        str(ROOT / "tests" / "support"),
        str(initial),
        repr(sets),
        str(tmp_path),
    ]
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE, text=True) as running:
        while not (tmp_path / "killed" / "finetune" / "checkpoints" / "4").exists():
            assert running.poll() is None, running.stderr and running.stderr.read()
            time.sleep(0.02)
        workers = psutil.Process(running.pid).children(recursive=True)
        os.kill(running.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert workers and not alive, "no process outlives the one that was killed"
    assert not (tmp_path / "killed" / "finetune" / "model").exists()
    config = make_config(initial, sets, steps=14, checkpoint_every=2)
    _, resumed = run(config, tmp_path, "killed")
    _, whole = run(config, tmp_path, "whole")
    assert resumed == whole and len(whole) == 14
    ours, theirs = (load_params(tmp_path / name)[0] for name in ("killed", "whole"))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
