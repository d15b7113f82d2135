"""The house rules of the design: floors of imports, sizes of files, the closed set of logical axis names."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import flax.linen as nn
import jax
import pytest

from fac_jax import axes
from fac_jax.models.fun_audio_chat import boxed_params
from fac_jax.models.presets import preset

ROOT = Path(__file__).parents[1]
PACKAGES = ("fac_jax", "data_pipelines", "experiments")
MAX_LINES = 400

GROUND = tuple(f"fac_jax.{name}" for name in "types axes io config precision progress cli".split())
FLOOR_1 = ("fac_jax.audio", "fac_jax.text", "fac_jax.layers")
FLOOR_2 = ("fac_jax.codec",)
FLOOR_3 = ("fac_jax.batching",)
FLOOR_4 = ("fac_jax.models", "fac_jax.duplex", "fac_jax.losses", "fac_jax.parallel")
FLOOR_5 = ("fac_jax.checkpoint", "fac_jax.generation")
UP_TO_3 = GROUND + FLOOR_1 + FLOOR_2 + FLOOR_3
UP_TO_5 = UP_TO_3 + FLOOR_4 + FLOOR_5

# What a package may import besides itself.
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "fac_jax.types": (),
    "fac_jax.axes": (),
    "fac_jax.io": (),
    "fac_jax.precision": (),
    "fac_jax.progress": (),
    "fac_jax.config": ("fac_jax.types",),
    "fac_jax.config_files": ("fac_jax.types", "fac_jax.config"),
    "fac_jax.cli": ("fac_jax.types", "fac_jax.config_files"),
    "fac_jax.audio": GROUND,
    "fac_jax.text": GROUND,
    "fac_jax.layers": GROUND,
    "fac_jax.codec": GROUND + FLOOR_1,
    "fac_jax.batching": GROUND + FLOOR_1 + FLOOR_2,
    "fac_jax.models": UP_TO_3,
    "fac_jax.duplex": UP_TO_3 + ("fac_jax.models",),
    "fac_jax.losses": UP_TO_3 + ("fac_jax.models",),
    "fac_jax.parallel": UP_TO_3,
    "fac_jax.checkpoint": UP_TO_3 + FLOOR_4,
    "fac_jax.generation": UP_TO_3 + FLOOR_4,
    "fac_jax.demo": (),
    "fac_jax.chat": UP_TO_5,
    "fac_jax.api": UP_TO_5 + ("fac_jax.chat",),
    "fac_jax.training": UP_TO_5,
    "fac_jax.evaluation": UP_TO_5 + ("fac_jax.training",),
    "fac_jax.serving": UP_TO_5 + ("fac_jax.chat", "fac_jax.api"),
    "data_pipelines": ("fac_jax",),
    "experiments": ("fac_jax", "data_pipelines"),
}
PURE = ("fac_jax/layers", "fac_jax/models", "fac_jax/losses")
UNKNOWN_TO_PURE = ("ml_collections", "absl", "orbax", "tensorflow_datasets", "grain")
PARTITIONING = {"with_logical_partitioning", "with_partitioning", "with_logical_constraint", "LogicallyPartitioned"}


def sources(*folders: str) -> list[Path]:
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def inside(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == p or module.startswith(p + ".") for p in packages)


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of all imports; `from a import b` counts as a.b, so that a module cannot hide behind its package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def package_of(module: str) -> str | None:
    return next((package for package in MAY_IMPORT if inside(module, (package,))), None)


def wrong_imports(module: str, tree: ast.AST) -> list[str]:
    package = package_of(module)
    if package is None:
        return [] if module in PACKAGES else [f"{module} is in no package of the design"]
    allowed = (package, *MAY_IMPORT[package])
    return [f"{module} imports {i}" for i in imports(tree) if inside(i, PACKAGES) and not inside(i, allowed)]


def literals(node: ast.AST) -> list[str]:
    return [repr(n.value) for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def wrong_axes(tree: ast.AST, known: set[str]) -> list[str]:
    """Axis constants that do not exist, and string literals given where a logical axis name is expected."""
    wrong = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "axes":
            wrong += [f"axes.{node.attr}"] if node.attr not in known else []
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in PARTITIONING:
            wrong += literals(node)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "param":
            wrong += literals(node.args[3])  # the axes of layers/param.py: (module, name, init, axes, ..)
        elif isinstance(node, ast.Dict):
            keys = zip(node.keys, node.values, strict=True)
            values = [v for k, v in keys if k is not None and "PARTITION_NAME" in ast.unparse(k)]
            wrong += [repr(v.value) for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
    return wrong


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_downwards(package: str) -> None:
    wrong = []
    for path in sources(package):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        wrong += wrong_imports(module, ast.parse(path.read_text(), str(path)))
    assert not wrong, "\n".join(wrong)


def test_pure_packages_know_nothing_of_meshes_files_and_configs() -> None:
    for path in sources(*PURE):
        known = [i for i in imports(ast.parse(path.read_text())) if inside(i, (*UNKNOWN_TO_PURE, "fac_jax.parallel"))]
        assert not known, f"{path.relative_to(ROOT)} imports {', '.join(known)}"


def test_files_have_one_subject() -> None:
    sizes = {p.relative_to(ROOT): len(p.read_text().splitlines()) for p in sources(*PACKAGES, "tests")}
    assert not {str(p): n for p, n in sizes.items() if n > MAX_LINES}


def test_logical_axes_are_of_the_closed_set() -> None:
    known = {name for name, value in vars(axes).items() if isinstance(value, str) and value in axes.ALL} | {"ALL"}
    assert len(known) == len(axes.ALL) + 1
    for path in sources("fac_jax"):
        wrong = wrong_axes(ast.parse(path.read_text()), known)
        assert not wrong, f"{path.relative_to(ROOT)}: {', '.join(wrong)}"


def is_box(leaf: object) -> bool:
    return isinstance(leaf, nn.LogicallyPartitioned)


@pytest.mark.parametrize("name", ["tiny", "30b_a3b"])
def test_every_parameter_names_its_axes(name: str) -> None:
    boxed = jax.eval_shape(lambda rng: boxed_params(preset(name), rng), jax.random.key(0))
    for path, leaf in jax.tree_util.tree_leaves_with_path(boxed, is_leaf=is_box):
        assert is_box(leaf), f"{jax.tree_util.keystr(path)} has no axis names"
        assert len(leaf.names) == leaf.value.ndim, f"{jax.tree_util.keystr(path)}: {leaf.names}"
        assert set(leaf.names) <= axes.ALL | {None}, f"{jax.tree_util.keystr(path)}: {leaf.names}"


def test_what_is_imported_is_required() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    required, served = names_of(lines), names_of([*extras["serve"], *extras["cluster"]])
    providers = packages_distributions()
    for path in sources(*PACKAGES):
        tops = {i.split(".")[0] for i in imports(ast.parse(path.read_text()))}
        outside = tops - set(PACKAGES) - sys.stdlib_module_names
        known = required | served if path.relative_to(ROOT).is_relative_to("fac_jax/serving") else required
        missing = {top for top in outside if known.isdisjoint(map(canonical, (top, *providers.get(top, []))))}
        assert not missing, f"{path.relative_to(ROOT)} imports what is not required: {', '.join(sorted(missing))}"


def names_of(requirements: list[str]) -> set[str]:
    """Names of the distributions that lines of requirements ask for."""
    return {canonical(re.split(r"[<>=\[ ;]", line)[0]) for line in requirements if line and not line.startswith("#")}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fac_jax.layers.norm", "from fac_jax.models import config"),
        ("fac_jax.layers.norm", "def f():\n    import fac_jax.parallel.mesh"),
        ("fac_jax.models.head", "from fac_jax import training"),
        ("fac_jax.models.head", "from fac_jax.losses import Sft"),
        ("fac_jax.audio.mel", "from fac_jax.text import bpe"),
        ("fac_jax.batching.grid", "from fac_jax.models.config import ModelConfig"),
        ("data_pipelines.records.record", "import experiments.train"),
        ("fac_jax.evaluation.reports.report", "import experiments.train"),
        ("fac_jax.attic.things", "import numpy"),
    ],
)
def test_the_floors_see_a_wrong_import(module: str, source: str) -> None:
    assert wrong_imports(module, ast.parse(source))


@pytest.mark.parametrize(
    "source",
    [
        "axes.EMBD",
        "nn.with_logical_partitioning(init, ('embed', axes.MLP))",
        "param(self, 'kernel', init, ('embed', axes.MLP), (2, 3), 'float32')",
        "nn.scan(Layer, metadata_params={nn.PARTITION_NAME: 'layers'})",
    ],
)
def test_the_closed_set_sees_a_wrong_name(source: str) -> None:
    assert wrong_axes(ast.parse(source), {"EMBED", "MLP", "LAYERS"})
