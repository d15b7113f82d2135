"""The page of an evaluation: a model beside the paper's models, table by table, with examples to listen to."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from fac_jax.evaluation.benchmarks.measure import Measure
from fac_jax.evaluation.reports.pages.page import Sound, render_page, write_with_figures


@dataclasses.dataclass(frozen=True)
class Result:
    """The scores of one benchmark.

    Attributes:
      benchmark: name, such as "voicebench/ifeval".
      title: its name in the paper.
      unit: of the value.
      rules: rule set of the scorer.
      rows: number of rows; `expected_rows` is that of the published set, None where it is not known.
      scored: rows with points.
      unscored: number of rows without points by cause.
      value: None if no row was scored; `interval` is its 95 % interval.
      values: further values by name.
      lower_is_better: true for error rates.
      models: identity of the judge, recognizer, MOS model and embedder, by these names; absent where none was used.
      stand_in: what stood in for a model of the official rules; a value with a stand-in is not comparable.
      how: decoding, checkpoint and data of the answers; empty for predictions from elsewhere.
      notes: what a reader must know besides.
      measure: the value as ratios over rows, for paired intervals.
    """

    benchmark: str
    title: str
    unit: str
    rules: str
    rows: int
    expected_rows: int | None
    scored: int
    unscored: Mapping[str, int]
    value: float | None
    interval: tuple[float, float] | None
    values: Mapping[str, float]
    lower_is_better: bool
    models: Mapping[str, str]
    stand_in: Sequence[str]
    how: Mapping[str, Any]
    notes: Sequence[str]
    measure: Measure

    def to_json(self) -> dict[str, Any]:
        """Returns plain values, the inverse of `from_json`."""
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return kept | {"measure": self.measure.to_json()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Result":
        """Reads what `to_json` has stored."""
        interval = stored["interval"] and tuple(stored["interval"])
        return cls(**{**stored, "interval": interval, "measure": Measure.from_json(stored["measure"])})


@dataclasses.dataclass(frozen=True)
class Example:
    """One answer to look at and listen to; sounds that are not at hand are None."""

    id: str
    question: str
    asked: Sound | None
    reply: str
    spoken: Sound | None
    heard: str | None
    verdict: str


@dataclasses.dataclass(frozen=True)
class Table:
    """The benchmarks of one family, and what the paper prints for them.

    Attributes:
      title: of the table.
      results: its benchmarks.
      overall: the paper's overall of the family from this model's values; None if a part is missing or stood in for.
      peers: values of the paper by model, and then by benchmark or "overall".
    """

    title: str
    results: Sequence[Result]
    overall: float | None
    peers: Mapping[str, Mapping[str, float]]


@dataclasses.dataclass(frozen=True)
class BenchmarkReport:
    """The content of the page; `examples` has some answers by benchmark."""

    title: str
    summary: str
    tables: Sequence[Table]
    examples: Mapping[str, Sequence[Example]]


def write_benchmark_report(path: str | os.PathLike[str], report: BenchmarkReport) -> None:
    """Writes the page to `path`, and its figures to the same path with the suffix `.json`; both appear complete."""
    page = render_page("fac_jax.evaluation.reports", "benchmarks.html.jinja", report=report)
    write_with_figures(path, page, to_json(report))


def to_json(report: BenchmarkReport) -> dict[str, Any]:
    """Returns the figures of a report: results by benchmark, and the overall and peers of every table."""
    return {
        "title": report.title,
        "results": {one.benchmark: one.to_json() for table in report.tables for one in table.results},
        "overall": {table.title: table.overall for table in report.tables},
        "peers": {table.title: {name: dict(values) for name, values in table.peers.items()} for table in report.tables},
    }
