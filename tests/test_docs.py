"""The reference in docs/api has a page for every package and every module that stands in none."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_has_its_place_in_the_reference() -> None:
    pages = [page.read_text() for page in (ROOT / "docs" / "api").glob("*.md")]
    shown = {name for page in pages for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)}
    packages = {f"fac_jax.{file.parent.name}" for file in ROOT.glob("fac_jax/*/__init__.py")}
    modules = {f"fac_jax.{file.stem}" for file in ROOT.glob("fac_jax/*.py") if file.stem != "__init__"}
    assert shown == packages | modules | {"fac_jax", "data_pipelines", "experiments"}
