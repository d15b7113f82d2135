"""What the tests of conversions share: the launcher, its refusals, and a converted checkpoint."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from absl.testing import flagsaver
from launchers import imported
from recorded_copies import Refused, copy_of

from fac_jax import cli
from fac_jax.checkpoint.release.convert import export_release, import_release


@pytest.fixture(scope="module")
def convert() -> Iterator[ModuleType]:
    """The launcher."""
    with imported("experiments.convert") as module:
        yield module


@pytest.fixture
def refused(convert: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs the launcher on words; it must exit with code 2 and one line, which is returned."""

    def run(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["convert", *map(str, words)])
        with flagsaver.flagsaver(), pytest.raises(SystemExit) as exited:
            cli.run_commands(convert.COMMANDS)
        lines = capsys.readouterr().err.splitlines()
        assert exited.value.code == cli.BAD_INPUT, lines
        assert len(lines) == 1 and lines[0].startswith("error: "), lines
        return lines[0]

    return run


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dense recorded checkpoint as it is (`hf`), in shards (`shards`) and as ours (`ours`)."""
    folder = tmp_path_factory.mktemp("kept")
    import_release(copy_of("dense", folder / "hf"), folder / "ours")
    export_release(folder / "ours", folder / "shards", "float32", shard_bytes=200_000)
    return folder
