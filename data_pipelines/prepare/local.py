"""Preparation on one machine: processes write shards, and finished shards are kept."""

import itertools
import multiprocessing
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Final

from threadpoolctl import threadpool_limits

from data_pipelines.loading.workers import end_with_parent
from data_pipelines.prepare.card import Tally, finish
from data_pipelines.prepare.plan import Placed, Plan, Repeats, lock_config, manifest, placed, split_of, survey
from data_pipelines.prepare.rows import TOGETHER
from data_pipelines.prepare.rows import prepare as prepare_rows
from data_pipelines.prepare.settings import Settings, Source, Tools, load
from data_pipelines.prepare.shards import Report, Shard, describe, finished, sweep, write_shard
from fac_jax.progress import Advance, bar
from fac_jax.types import InputError

AHEAD: Final = 2  # shards read for every process, so that none waits
STARTING: Final = 10.0  # seconds of work below which starting processes takes longer than it saves
WAY: Final = "processes"


def prepare(
    sources: Sequence[Source], out: Path, settings: Settings, processes: int, plan: Plan | None = None
) -> dict[str, Any]:
    """Writes the rows of all sources into a folder, but for finished shards; returns the values of the card.

    Raises:
      InputError: a source cannot be read, the folder holds something different, or a row needs a codec.
    """
    tools = load(settings)
    plan = plan or survey(sources, settings)
    lock_config(out, manifest(sources, settings, plan, WAY))
    reports: list[Report] = []
    total = sum(plan.rows.values())
    with bar("preparing", total) as advance:
        todo = _todo(sources, out, settings, plan, tools, reports, advance)
        for report in _made(out, todo, settings, tools, processes, total):
            reports.append(report)
            advance(_read(report))
    order = {name: number for number, (name, _) in enumerate(settings.splits)}
    reports.sort(key=lambda report: (order[report.shard.split], report.shard.index))
    counts: Tally = sum((report.counts for report in reports), Counter())
    refused = [line for report in reports for line in report.refused]
    checksums = {report.shard.name: report.checksum for report in reports}
    card = finish(out, counts, refused, checksums, sum(report.bytes for report in reports), tools)
    sweep(out)
    describe(out, reports)
    return card


def _read(report: Report) -> int:
    return report.rows + len(report.refused)


def _todo(
    sources: Sequence[Source],
    out: Path,
    settings: Settings,
    plan: Plan,
    tools: Tools,
    reports: list[Report],
    advance: Advance,
) -> Iterator[tuple[Shard, list[Placed]]]:
    """Yields the shards to write, with their rows; reports of finished shards are added to `reports`."""
    size = settings.rows_per_shard
    of = {split: -(-rows // size) for split, rows in plan.rows.items()}
    waiting: dict[str, list[Placed]] = defaultdict(list)
    made: dict[str, int] = defaultdict(int)
    left = dict(plan.rows)
    kept = Repeats(plan.repeated, tools.limits)
    for place, row in placed(sources):
        split = split_of(row, settings.splits)
        waiting[split].append((place, kept(row)))
        left[split] -= 1
        if len(waiting[split]) < size and left[split]:
            continue
        shard = Shard(split, made[split], of[split])
        made[split] += 1
        rows = waiting.pop(split)
        report = finished(out, shard)
        if report is None:
            yield shard, rows
        else:
            reports.append(report)
            advance(_read(report))
    if any(left.values()):
        raise InputError("the sources changed while they were read: run the same command again")


def _made(
    out: Path, todo: Iterator[tuple[Shard, list[Placed]]], settings: Settings, tools: Tools, processes: int, total: int
) -> Iterator[Report]:
    first = next(todo, None)
    if first is None:
        return
    todo = itertools.chain([first], todo)
    with threadpool_limits(1):
        if processes == 1 or _seconds(first[1], tools, total) < STARTING:
            for shard, rows in todo:
                yield write_shard(out, shard, rows, tools)
            return
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with ProcessPoolExecutor(processes, spawn, _start, (settings,)) as pool:
        try:
            yield from _pooled(pool, out, todo, processes * AHEAD)
        except BrokenProcessPool:
            raise InputError(
                "a process died, perhaps out of memory: the same command resumes; use fewer --processes"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _seconds(rows: Sequence[Placed], tools: Tools, total: int) -> float:
    """Estimates how long one process takes for `total` rows, from the first of them.

    The rows are prepared in two parts, of which the second counts: the first also loads what is loaded once.
    """
    some = [row for _, row in rows[: 2 * TOGETHER]]
    seconds = 0.0
    for part in filter(None, (some[:TOGETHER], some[TOGETHER:])):
        start = time.perf_counter()
        prepare_rows(part, tools)
        seconds = (time.perf_counter() - start) / len(part)
    return seconds * total


def _pooled(pool: Executor, out: Path, todo: Iterator[tuple[Shard, list[Placed]]], most: int) -> Iterator[Report]:
    running: set[Future[Report]] = set()
    for shard, rows in todo:
        running.add(pool.submit(_work, out, shard, rows))
        while len(running) >= most:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in done)


_loaded: list[Tools] = []  # of a process of the pool


def _start(settings: Settings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the pool
    end_with_parent()
    threadpool_limits(1)  # processes share the cores; and sums do not depend on their number
    _loaded.append(load(settings))


def _work(out: Path, shard: Shard, rows: list[Placed]) -> Report:
    return write_shard(out, shard, rows, _loaded[0])
