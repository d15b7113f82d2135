"""The notebook of docs/ runs from its first cell to its last, and the model learns what it is taught there."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def test_the_tutorial_runs_and_the_model_learns_the_new_answer(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "tutorial.ipynb", as_version=4)
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "SPEECH" in printed and "what is two plus three" in printed
    assert "after:  'the best colour is green'" in printed
