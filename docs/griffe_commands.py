"""How the reference shows the docstrings of modules: commands and tables of files in them are code."""

from typing import Any

import griffe

COMMANDS = ("python -m ", "fac-jax ")
COLUMN_GAP = "   "  # separates the columns of a table


class Commands(griffe.Extension):
    """Puts every paragraph of a module's docstring that holds commands or columns into a fenced block."""

    def on_module(self, *, mod: griffe.Module, **_: Any) -> None:
        """Changes the docstring of one module."""
        if mod.docstring is not None:
            mod.docstring.value = "\n\n".join(map(fenced, mod.docstring.value.split("\n\n")))


def fenced(paragraph: str) -> str:
    """Returns a paragraph, as a block of code if a line of it is a command or has columns."""
    lines = paragraph.splitlines()
    is_code = any(line.startswith(COMMANDS) or COLUMN_GAP in line.strip() for line in lines)
    return f"```text\n{paragraph}\n```" if is_code else paragraph
