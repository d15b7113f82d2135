"""The realism report of calls: how their speakers share the floor, next to published figures of people."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from data_pipelines.records.call import played
from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected, formatted
from data_pipelines.records.timing import Timing
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT_SECONDS, EventKind
from fac_jax.evaluation.benchmarks.duplex.floor import (
    BIN,
    Floor,
    Measure,
    distance,
    floor,
    histogram,
    measured,
    together,
)
from fac_jax.evaluation.benchmarks.duplex.segments import Segment
from fac_jax.evaluation.benchmarks.duplex.voice_activity import energy
from fac_jax.evaluation.reports.pages.page import render_page, write_with_figures
from fac_jax.types import InputError

# Events in which the user speaks; an interruption is also noted as the speech that it is.
SPOKEN: Final = (EventKind.SPEECH, EventKind.STOP, EventKind.BACKCHANNEL, EventKind.NOTHING_TO_ANSWER)
MEASURES: Final = ("ipu", "pause", "gap", "overlap")
# Seconds a minute. Telephone calls of the Fisher corpus and models trained on them: arXiv 2410.00037, table 9; in
# brackets the same people as arXiv 2203.16502 measures them.
PUBLISHED: Final = {
    "Fisher": (51.1, 6.4, 4.2, 3.3),
    "Fisher (2203.16502)": (53.5, 5.5, 4.4, 3.6),
    "dGSLM": (41.4, 13.8, 10.7, 6.1),
    "a cascade": (54.8, 0.0, 5.3, 0.0),
    "Moshi, T = 0.8": (35.1, 13.2, 12.5, 1.2),
    "Moshi, T = 1.0": (50.8, 7.0, 4.5, 4.1),
}


def speech_of(record: Record, timing: Timing) -> tuple[list[Segment], list[Segment]]:
    """Returns where the user and where the assistant speak in a call whose audio is decoded.

    The user's speech is what the events say. The assistant's is found by its level in what is played of its replies.
    """
    user = [Segment(event.onset / RATE, event.end / RATE) for event in timing.events if event.kind in SPOKEN]
    return user, energy(played(record, timing), RATE)


def measures(found: Floor) -> dict[str, Measure]:
    """Returns the four measures of a floor by their names."""
    lengths = (found.ipus, found.pauses, found.gaps, found.overlaps)
    return {name: measured(one, found.seconds) for name, one in zip(MEASURES, lengths, strict=True)}


def offsets_of(file: Path) -> list[float]:
    """Returns the offsets that a report's JSON holds.

    Raises:
      InputError: the file is no report.
    """
    try:
        return [float(value) for value in json.loads(file.read_text(encoding="utf-8"))["offsets"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file}: no report of data_pipelines.duplex report ({error!r})") from None


def write(
    out: Path, name: str, split: str | None, rows: Iterable[Record | Rejected], reference: Sequence[float] | None
) -> Iterator[str]:
    """Writes the page and its figures, and yields its lines for people; rejected rows come first.

    Raises:
      InputError: no row is a call.
    """
    floors, kinds = [], dict.fromkeys(EventKind, 0)
    for row in rows:
        if isinstance(row, Rejected):
            yield formatted(row)
        elif row.timing is not None:
            floors.append(floor(*speech_of(row, row.timing), row.timing.slots * SLOT_SECONDS))
            for event in row.timing.events:
                kinds[event.kind] += 1
    if not floors:
        raise InputError(f"{name}: no call among its rows")
    whole = together(floors)
    values = _values(whole, len(floors), {str(kind): count for kind, count in kinds.items() if count}, reference)
    title = f"How {name}{f', {split},' if split else ''} shares the floor"
    page = render_page("data_pipelines.duplex", "realism.html.jinja", **_shown(title, whole, values))
    write_with_figures(out, page, values)
    for kind, measure in values["measures"].items():
        yield f"{kind:8s} {measure['per_minute']:6.1f} a minute, {measure['seconds_per_minute']:5.1f} s a minute"
    yield f"look: {out}"


def _values(whole: Floor, calls: int, kinds: dict[str, int], reference: Sequence[float] | None) -> dict[str, Any]:
    """Returns the figures of the page as JSON values; what cannot be measured is None."""
    far = distance(whole.offsets, reference) if reference and whole.offsets else None
    found = {name: dataclasses.asdict(measure) for name, measure in measures(whole).items()}
    for measure in found.values():
        measure["quantiles"] = [None if np.isnan(value) else value for value in measure["quantiles"]]
    return {
        "calls": calls,
        "minutes": whole.seconds / 60,
        "measures": found,
        "backchannels_per_minute": whole.backchannels / (whole.seconds / 60),
        "events_per_minute": {kind: count / (whole.seconds / 60) for kind, count in kinds.items()},
        "offsets": list(whole.offsets),
        "wasserstein": far,
    }


def _shown(title: str, whole: Floor, values: dict[str, Any]) -> dict[str, Any]:
    edges, counts = histogram(whole.offsets)
    middles = [edge + BIN / 2 for edge in edges]
    plot = {"name": "offsets", "series": {"offsets": (middles, counts)}, "ylabel": "transfers", "xlabel": "seconds"}
    summary = (
        f"{values['calls']} calls of {values['minutes']:.1f} minutes. Questions and answers need not be like "
        "conversations of people; pauses and overlaps must not be missing."
    )
    return {"title": title, "summary": summary, "values": values, "published": PUBLISHED, "plot": plot}
