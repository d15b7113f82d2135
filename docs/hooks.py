"""What mkdocs runs while it builds the site: the notebook becomes a page."""

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

NOTEBOOK, PAGE = "tutorial.ipynb", "tutorial.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page `tutorial.md`, made from the notebook."""
    text = as_markdown((Path(config.docs_dir) / NOTEBOOK).read_text(encoding="utf-8"))
    files.append(File.generated(config, PAGE, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Makes links of other pages to the notebook, which the repository has, links to the page that is made from it."""
    return markdown if page.file.src_uri == PAGE else markdown.replace(f"]({NOTEBOOK})", f"]({PAGE})")


def as_markdown(notebook: str) -> str:
    """Returns the cells of a notebook (JSON): text as it is, code as fenced blocks, a link to it after the first."""
    cells = json.loads(notebook)["cells"]
    parts = ["".join(c["source"]) if c["cell_type"] == "markdown" else _code("".join(c["source"])) for c in cells]
    parts.insert(1, f"This page is a notebook: [{NOTEBOOK}]({NOTEBOOK}).")
    return "\n\n".join(parts) + "\n"


def _code(source: str) -> str:
    return f"```python\n{source}\n```"
