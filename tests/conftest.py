"""What every test shares: one thread a worker, a compilation cache, and the figures that the tests print."""

import gc
import os
import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from data_pipelines.worlds.schema import PairRow, Row
    from fac_jax.models.config import ModelConfig
    from fac_jax.text.tokenizer import Tokenizer
    from fac_jax.types import Params

# Before jax is imported. Tolerances hold for the CPU; JAX_PLATFORMS in the environment chooses another device.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["EARS"] = "scratch"  # no test depends on a package of weights
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parents[1] / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")  # most programs take less than a second
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # a twentieth of the time that a program is traced
# A trace makes many objects that stay: by default the collector looks through them again for every 700 new ones.
gc.set_threshold(100_000, 50, 100)
# Nearly all of the suite's time is compilation: the code generator need not optimise programs that run once.
FAST_COMPILE = "--xla_backend_optimization_level=0"
if version("jaxlib").startswith("0.10."):  # XLA ends at once for a flag that it does not know
    # A training step compiles in less than half of the time without the emitters, and in fewer modules faster still.
    FAST_COMPILE += " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ.setdefault("XLA_FLAGS", FAST_COMPILE)
# Tests of meshes need devices; all others run on the first.
os.environ["XLA_FLAGS"] += " --xla_force_host_platform_device_count=8"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["XLA_FLAGS"] += " --xla_cpu_multi_thread_eigen=false"
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")

# After the environment is set, since jaxtyping imports jax; before anything that it checks is imported.
from shapes import check_shapes  # noqa: E402

check_shapes()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Takes what every test shares out of the collector's sight."""
    gc.freeze()


PROPERTY = "figure"  # key of a figure among the properties of a test, which travel from xdist's workers


class Figures:
    """Asserts a measured value against its limit and keeps it for the table that closes the run."""

    def __init__(self, node: pytest.Item) -> None:
        self._node = node

    def _keep(self, name: str, value: float, sign: str, limit: float) -> None:
        self._node.user_properties.append((PROPERTY, [name, float(value), sign, float(limit)]))

    def __call__(self, name: str, value: float, limit: float) -> None:
        """The value is at most the limit (a NaN is not)."""
        self._keep(name, value, "<=", limit)
        assert value <= limit, f"{name}: {value:.3g} > {limit:.3g}"

    def at_least(self, name: str, value: float, limit: float) -> None:
        """The value is at least the limit (a NaN is not)."""
        self._keep(name, value, ">=", limit)
        assert value >= limit, f"{name}: {value:.3g} < {limit:.3g}"


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny spoken data set (`toy_world.WORLD`, `toy_world.PAIRS`), built once a worker."""
    from toy_world import PAIRS, WORLD

    from data_pipelines.worlds.build import build

    return build(WORLD, PAIRS, tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def toy_rows(toy_folder: Path) -> "dict[str, list[Row]]":
    """The rows of every split of the tiny data set."""
    from toy_world import rows_of

    from data_pipelines.worlds.schema import SPLITS

    return {split: rows_of(toy_folder, split) for split in SPLITS}


@pytest.fixture(scope="session")
def toy_pair_rows(toy_folder: Path) -> "dict[str, list[PairRow]]":
    """The preference pairs of "train" and "test" of the tiny data set."""
    from toy_world import rows_of

    from data_pipelines.worlds.schema import PAIR_SPLITS

    return {split: rows_of(toy_folder, stored) for split, stored in PAIR_SPLITS.items()}


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> "Tokenizer":
    """Trained on the texts of the tiny data set."""
    from toy_world import make_tokenizer

    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="session")
def model(tokenizer: "Tokenizer") -> "ModelConfig":
    """A tiny model for that tokenizer."""
    from toy_world import make_model

    return make_model(tokenizer)


@pytest.fixture(scope="session")
def toy_params() -> "Params":
    """Parameters of `toy_training.MODEL`."""
    from initial import initial_params
    from toy_training import MODEL

    return initial_params(MODEL)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The voice as it is published, tiny."""
    from released_voice import save_released

    folder = tmp_path_factory.mktemp("released")
    save_released(folder)
    return folder


@pytest.fixture(scope="session")
def voice_folder(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a codec of ours."""
    from released_voice import sizes

    from fac_jax.checkpoint.voice.convert import convert_codec

    folder = tmp_path_factory.mktemp("voice") / "codec"
    convert_codec(released, folder, sizes=sizes())
    return folder


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """Debian's chromium (apt-get install chromium), driven by Playwright."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program, "chromium is not installed: apt-get install chromium"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )
        yield running
        running.close()


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    """`figures("dense logits max abs diff", value, limit)` asserts and prints at the end of the run."""
    return Figures(request.node)


def _rows(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, float, str, float]]:
    reports = [r for key in ("passed", "failed") for r in terminalreporter.getreports(key)]
    for report in sorted(reports, key=lambda r: r.nodeid):
        for key, value in report.user_properties:
            if key == PROPERTY:
                yield tuple(value)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = list(_rows(terminalreporter))
    if not rows:
        return
    width = max(len(name) for name, *_ in rows)
    terminalreporter.section("figures")
    for name, value, sign, limit in rows:
        terminalreporter.write_line(f"{name:<{width}}  {value:10.4g}  {sign} {limit:g}")
