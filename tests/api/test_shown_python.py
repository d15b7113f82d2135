"""The Python that README and pages show, run as it stands there."""

import json
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest
import soundfile
from small_speaker import WAVE

ROOT = Path(__file__).parents[2]


def test_the_python_that_the_pages_show_runs(workdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "runs" / "quickstart"
    shutil.copytree(workdir, run)
    (run / "sounds").mkdir()
    soundfile.write(run / "sounds" / "0-asked.flac", WAVE, 16000)
    stage = run / "speak" / "model" / "config.json"
    values = json.loads(stage.read_text())
    stage.write_text(json.dumps(values | {"context": 512}))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"play": lambda wave: None}
    for shown in (*_here_documents(ROOT / "README.md"), *_python_blocks(ROOT / "docs" / "generation.md")):
        exec(compile(shown, "the page", "exec"), names)
    assert names["reply"].wave.size and Path("reply.wav").stat().st_size > 1000


def _here_documents(page: Path) -> list[str]:
    found = re.findall(r"python - <<'END'\n(.*?)^END$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


def _python_blocks(page: Path) -> list[str]:
    """The indented blocks of the section "From Python", in which each goes on where the one before ends."""
    section = page.read_text().split("## From Python")[1]
    blocks = re.findall(r"(?:^(?:    .*)?\n)+", section, re.MULTILINE)
    found = [textwrap.dedent(block) for block in blocks if block.strip()]
    assert len(found) >= 3
    return found
