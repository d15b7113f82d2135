"""Writes sets of calls (`data_pipelines.importers.calls` describes and reads them)."""

import collections
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import soundfile

from data_pipelines.duplex.dialogue import Dialogue, Reply
from data_pipelines.duplex.make import CallsConfig, MadeCall, make_call
from data_pipelines.importers.calls import CALLS
from data_pipelines.prepare import flac
from fac_jax.audio.mel import RATE
from fac_jax.io import replacing, write_text
from fac_jax.progress import passing

T = TypeVar("T")
KEY: Final = 16  # hexadecimal digits of a reply's name
AHEAD: Final = 4  # calls that are made ahead for every thread
FORMATS: Final = ("wav", "flac")  # of the two channels


def write_calls(
    folder: Path, dialogues: Iterable[Dialogue], count: int | None, config: CallsConfig, kind: str, threads: int
) -> list[str]:
    """Makes the call of every dialogue and writes them, with a progress bar; `calls.jsonl` is written last.

    Args:
      folder: gets the files.
      dialogues: taken a few at a time.
      count: how many there are; None if only their end tells.
      kind: one of FORMATS; both have 16 bits.
      threads: do not change what is written.

    Returns:
      the ids of dialogues of which not one exchange fits the slots that were drawn, so that they have no call.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    written: set[str] = set()  # replies that are there

    def make(dialogue: Dialogue) -> tuple[str, str | None]:
        made = make_call(dialogue, config)
        return dialogue.id, None if made is None else _write(folder, made, kind, written)

    lines, left_out = [], []
    for name, line in passing(f"calls of {folder.name}", count)(_in_order(make, dialogues, threads)):
        if line is None:
            left_out.append(name)
        else:
            lines.append(line)
    write_text(folder / CALLS, "".join(f"{line}\n" for line in lines))
    return left_out


def _in_order(make: Callable[[Dialogue], T], dialogues: Iterable[Dialogue], threads: int) -> Iterator[T]:
    """Yields what is made of dialogues in their order, a few of them made ahead."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[Future[T]] = collections.deque()
        try:
            for dialogue in dialogues:
                waiting.append(pool.submit(make, dialogue))
                if len(waiting) > threads * AHEAD:
                    yield waiting.popleft().result()
            yield from (future.result() for future in waiting)
        finally:  # after an error or an interrupt, those that wait are not made
            pool.shutdown(cancel_futures=True)


def _write(folder: Path, made: MadeCall, kind: str, written: set[str]) -> str:
    """Writes the audio of a call, and returns its line."""
    audio = f"audio/{made.id}.{kind}"
    both = np.stack([flac.quantised(made.user), flac.quantised(made.assistant)], axis=1)
    with replacing(folder / audio) as part:
        soundfile.write(part, both, RATE, subtype="PCM_16", format=kind.upper())
    line = made.line
    row = {
        "id": made.id,
        "audio": audio,
        "system": made.system,
        "slots": line.slots,
        "delay_groups": line.delay,
        "turns": [
            {
                "opening": turn.opening,
                "closing": turn.closing,
                "text": turn.reply.text,
                "cut": turn.cut,
                "reply": _reply(folder, turn.reply, written),
            }
            for turn in line.turns
        ],
        "events": [{**vars(event), "slot": event.slot} for event in line.events],
    }
    return json.dumps(row, ensure_ascii=False)


def _reply(folder: Path, reply: Reply, written: set[str]) -> str:
    """Writes a whole reply once, and returns its name; two threads may write the same file."""
    samples = flac.quantised(reply.wave)
    name = f"replies/{hashlib.blake2b(samples.tobytes(), digest_size=KEY // 2).hexdigest()}.flac"
    if name not in written:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(flac.encode(reply.wave))
        written.add(name)
    return name
