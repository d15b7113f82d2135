"""The wheel in an environment of its own, used from a folder outside the repository.

The environment borrows the libraries of this one, without the editable installation of this repository.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fac_jax.audio import io

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PACKAGES = ("fac_jax", "data_pipelines", "experiments")
BUILD_FILES = ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that what an earlier build left behind is not packed."""
    source = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for file in BUILD_FILES:
        shutil.copyfile(ROOT / file, source / file)
    out = source / "dist"
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)], check=True)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The console command, installed."""
    venv = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # its own .pth files are not read
    install = [sys.executable, "-m", "pip", "--python", str(venv / "bin" / "python"), "install", "-q", "--no-deps"]
    subprocess.run([*install, "--no-index", "--ignore-installed", str(wheel)], check=True)
    return venv / "bin" / "fac-jax"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder, with a package that has the name of one of ours."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "experiments").mkdir()
    (folder / "experiments" / "__init__.py").write_text("raise RuntimeError('the package of the user')\n")
    io.save_wav(folder / "question.wav", np.sin(np.arange(16000, dtype=np.float32) / 20) * 0.3, 16000)
    return folder


def run(program: Path, folder: Path, *words: str, code: int = 0) -> str:
    """Runs the console command in a folder and returns what it printed."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "XLA_FLAGS")}
    result = subprocess.run([program, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == code, f"{' '.join(words)}: {result.stderr}"
    return result.stdout if code == 0 else result.stderr


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    wanted = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == wanted


def test_help_and_version_are_at_hand(program: Path, elsewhere: Path) -> None:
    assert "quickstart" in run(program, elsewhere, "--help")
    assert run(program, elsewhere, "--version").startswith("fac_jax ")
    assert "--workdir" in run(program, elsewhere, "train", "--help")


def test_a_shipped_config_is_found_outside_the_repository(program: Path, elsewhere: Path) -> None:
    told = run(program, elsewhere, "train", "--config=quickstart", "--config.sede=1", "--workdir=never", code=2)
    assert told == "error: unknown config key --config.sede; did you mean --config.seed?\n"


def test_quickstart_generate_and_convert_run_outside_the_repository(program: Path, elsewhere: Path) -> None:
    run(program, elsewhere, "quickstart", "--fast", "--workdir=run")
    assert (elsewhere / "run" / "report.html").is_file()
    asked = ("generate", "--checkpoint=run", "--max_steps=4")
    run(program, elsewhere, *asked, "--mode=t2t", "--text=what is two plus three")
    run(program, elsewhere, *asked, "--mode=s2t", "--audio=question.wav")
    assert "tensors" in run(program, elsewhere, "convert", "jax-to-hf", "run", "hf", "--dtype=float32")
    assert "parameters" in run(program, elsewhere, "convert", "hf-to-jax", "hf", "back")
    run(program, elsewhere, *asked[:1], "--checkpoint=back", "--max_steps=4", "--mode=t2t", "--text=what is two")
