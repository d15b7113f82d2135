"""Runs on this machine: several at the same time, each on its own cores.

A run is a process in its own session that holds its lock itself. If a launcher is killed, its runs continue; the next
launcher finds them by their locks, waits for them, and starts the other runs. A run that is killed resumes from its
newest checkpoint.
"""

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from experiments.sweeps.config import SweepConfig
from experiments.sweeps.state import GIB, LOCK, Placed, locked
from fac_jax.cli import BAD_INPUT
from fac_jax.training.interrupt import deferred_interrupts

ROOT = Path(__file__).parents[2]
POLL = 0.2  # seconds between looks at the runs
GRACE = 30.0  # seconds that a process has to end after another process of its run failed
# Libraries that count a machine's cores, not those that they may use.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Tell = Callable[[Placed, str], None]


@dataclasses.dataclass
class Child:
    """A run that this launcher has started; times are monotonic seconds."""

    placed: Placed
    processes: list[subprocess.Popen[bytes]]  # one for each host
    share: int  # index of its share of the cores
    started: float
    failed: float | None = None  # when one of its processes was seen to have failed

    def code(self) -> int | None:
        """Returns its exit code, None while it runs; when one of its processes fails, the others are ended too.

        They may wait for the failed one in a collective, where they cannot save: what has not ended in time is killed.
        """
        codes = [process.poll() for process in self.processes]
        if None not in codes:
            return next((code for code in codes if code), 0)
        if any(codes):
            if self.failed is None:
                self.failed = time.monotonic()
                self.end()
            elif time.monotonic() - self.failed > GRACE:
                for process in self.processes:
                    process.kill()
        return None

    def end(self) -> None:
        """Signals its processes to save and end."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def run_all(sweep: SweepConfig, placed: Sequence[Placed], tell: Tell) -> list[Placed]:
    """Runs all runs that are not finished, and `tell`s every change of state; returns the runs that failed.

    Raises:
      KeyboardInterrupt: or Terminated; the runs were signalled to save, and have ended.
    """
    unfinished = [one for one in placed if not one.finished()]
    others = [one for one in unfinished if one.held()]  # of a launcher before this one
    waiting = [one for one in unfinished if one not in others]
    failed: list[Placed] = []
    children: list[Child] = []
    tries: dict[str, int] = {}
    shares = core_shares(sorted(os.sched_getaffinity(0)), sweep.local.processes)

    def settle(one: Placed, code: int | None) -> None:
        if one.finished():
            tell(one, "done")
        elif code == BAD_INPUT or tries.get(one.run.name, 0) > sweep.retries:
            failed.append(one)
            tell(one, f"failed: {one.last_words()}; see {one.log}")
        else:
            waiting.append(one)
            tell(one, "ended early" if code is None else f"ended with {code}, again")

    for one in others:
        tell(one, "is running already")
    with deferred_interrupts() as interrupted:
        while waiting or others or children:
            stop = interrupted()
            if stop:
                _end(children)
                raise stop
            ended = [(child, code) for child in children if (code := child.code()) is not None]
            for child, code in ended:
                children.remove(child)
                child.placed.note(code, time.monotonic() - child.started)
                settle(child.placed, code)
            for one in [one for one in others if not one.held()]:
                others.remove(one)
                settle(one, None)
            free = [n for n in range(len(shares)) if all(child.share != n for child in children)]
            while waiting and len(free) > len(others):
                # `check_room` has checked the memory for the first.
                if children and psutil.virtual_memory().available < sweep.local.memory_gib * GIB:
                    break
                one = waiting.pop(0)
                child = _started(one, free[0], shares[free[0]], sweep.local.hosts)
                if child is None:
                    others.append(one)
                    tell(one, "is running already")
                    continue
                tries[one.run.name] = tries.get(one.run.name, 0) + 1
                children.append(child)
                free.pop(0)
                tell(one, "started")
            time.sleep(POLL)
    return failed


def core_shares(cores: Sequence[int], count: int) -> list[list[int]]:
    """Divides cores into `count` shares that differ by at most one core; if there are fewer cores, runs share them."""
    if len(cores) < count:
        return [[cores[n % len(cores)]] for n in range(count)]
    bounds = [n * len(cores) // count for n in range(count + 1)]
    return [list(cores[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]


def _started(one: Placed, share: int, cores: Sequence[int], hosts: int) -> Child | None:
    """Starts the processes of a run, which hold its lock; None if another process does."""
    one.workdir.mkdir(parents=True, exist_ok=True)
    with locked(one.workdir / LOCK) as descriptor, one.log.open("ab") as log, pinned(cores):
        if descriptor is None:
            return None
        processes = [
            subprocess.Popen(
                (*one.command, *options),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(descriptor,),
                env={**os.environ, **dict.fromkeys(THREADS, str(len(cores)))},
            )
            for options in _host_options(hosts)
        ]
    return Child(one, processes, share, time.monotonic())


def _host_options(hosts: int) -> list[tuple[str, ...]]:
    """Returns the options of every process of a run of several hosts on this machine."""
    if hosts == 1:
        return [()]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = ("--cluster=flags", f"--coordinator={address}", f"--processes={hosts}")
    return [(*shared, f"--process={number}") for number in range(hosts)]


@contextlib.contextmanager
def pinned(cores: Sequence[int]) -> Iterator[None]:
    """Restricts this thread, and the processes that it starts, to some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _end(children: Sequence[Child]) -> None:
    """Signals the runs to save, and waits for them."""
    for child in children:
        child.end()
    for process in (process for child in children for process in child.processes):
        process.wait()
