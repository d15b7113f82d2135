"""Speech without downloads: many texts spoken by espeak-ng, the same on every machine.

`speak_all` cuts the jobs into chunks of a fixed size and speaks each in a fresh process, so the result depends neither
on the number of processes nor on what this process spoke before.
"""

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from data_pipelines.worlds.espeak import Voice
from fac_jax.progress import bar
from fac_jax.types import InputError

Job = tuple[str, Voice]  # text, voice
CHUNK = 256  # jobs a process speaks


def _speak_chunk(jobs: Sequence[Job]) -> list[np.ndarray]:
    """Speaks jobs in a process of their own: int16 `[N]` each."""
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join(p for p in (root, os.environ.get("PYTHONPATH")) if p)
    result = subprocess.run(
        [sys.executable, "-m", "data_pipelines.worlds.espeak"],
        input=json.dumps([[text, *dataclasses.astuple(voice)] for text, voice in jobs]).encode(),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    if result.returncode != 0:
        raise InputError(f"speech synthesis: {result.stderr.decode(errors='replace').strip().splitlines()[-1]}")
    with np.load(io.BytesIO(result.stdout)) as out:
        return np.split(out["wave"], np.cumsum(out["lengths"])[:-1])


def speak_all(jobs: Sequence[Job], processes: int = 2, chunk: int = CHUNK) -> list[np.ndarray]:
    """Speaks every job, with a progress bar: int16 `[N]` at 16 kHz each, in the order of `jobs`.

    The same jobs in any order give the same waveforms if they are distinct: they are spoken sorted by voice, since a
    change of voice costs more than a sentence. `processes` does not change the result, but `chunk`, the jobs that a
    process speaks, does.

    Raises:
      InputError: a voice that espeak-ng does not have, or a text with nothing to say.
    """
    order = sorted(range(len(jobs)), key=lambda i: (jobs[i][1].name, jobs[i]))
    chunks = [order[i : i + chunk] for i in range(0, len(order), chunk)]
    waves: list[np.ndarray] = [np.empty(0, np.int16)] * len(jobs)
    with bar("speaking", len(jobs)) as advance, ThreadPoolExecutor(processes) as pool:
        futures = {pool.submit(_speak_chunk, [jobs[i] for i in indices]): indices for indices in chunks}
        try:
            for future in as_completed(futures):
                for i, wave in zip(futures[future], future.result(), strict=True):
                    waves[i] = wave
                advance(len(futures[future]))
        finally:  # after an error or an interrupt, what waits is not spoken
            pool.shutdown(cancel_futures=True)
    return waves
