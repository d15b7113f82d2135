"""Tables of what was measured, in Markdown."""

from collections.abc import Iterable, Iterator, Mapping

TITLES = {
    "card": "device",
    "train": "training step",
    "utilisation": "step in bfloat16",
    "grouping": "step at k = 5 and k = 1",
    "decode": "joint decoding",
    "first_audio": "beginning of a reply",
    "mixed": "64 answers of 5 to 60 steps",
    "calls": "a slot of calls",
    "data": "loading",
    "codec": "voice",
}


def table(first: str, rows: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yields the lines of a Markdown table with one row for each measurement and one column for each figure.

    Args:
      first: head of the first column.
      rows: figures by measurement; all rows have the figures of the first one. "bytes" are shown as MiB.
    """
    names = list(next(iter(rows.values())))
    yield from head(first, names)
    for label, values in rows.items():
        yield row(label, {name: values[name] for name in names})


def head(first: str, names: Iterable[str]) -> Iterator[str]:
    """Yields the first two lines of a table."""
    heads = ["MiB" if name == "bytes" else name for name in names]
    yield f"| {first} | {' | '.join(heads)} |"
    yield "|---|" + "---:|" * len(heads)


def row(label: str, values: Mapping[str, float]) -> str:
    """Returns the line of a measurement."""
    return f"| {label} | {' | '.join(formatted(name, value) for name, value in values.items())} |"


def formatted(name: str, value: float) -> str:
    """Formats a figure: three digits, a percentage for shares, or MiB for bytes."""
    if name == "bytes":
        return f"{value / 2**20:.0f}"
    if name.startswith("share") or name.endswith("fill"):
        return f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
