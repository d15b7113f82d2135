"""The first step of an evaluation: a model answers the rows of a benchmark, and every answer is kept at once.

The folder of a benchmark gets `predictions.jsonl`, one object a row: the fields of the row, its `id`, the text of the
reply as `prediction`, whether it `finished`, and for spoken replies `audio`, the name of a FLAC file in the folder. A
stopped run goes on after the last of them. With several hosts each answers its share of the rows into a file of its
own (`predictions.1-of-4.jsonl`), and the first host joins them.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile

from data_pipelines.benchmarks.items import Item
from data_pipelines.benchmarks.predictions import prediction_row
from fac_jax.api import Model
from fac_jax.audio.io import RATE
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.evaluation.appended import AppendedLines
from fac_jax.evaluation.benchmarks.benchmark import Benchmark
from fac_jax.generation.sampling import GREEDY, Sampling
from fac_jax.generation.slots import Decoding
from fac_jax.io import write_text
from fac_jax.parallel.batches import HostShard
from fac_jax.progress import bar
from fac_jax.types import InputError

PREDICTIONS, HOW, SOUNDS = "predictions.jsonl", "how.json", "sounds"
MOST_STEPS: Final = 2048  # text ids of a reply, as UltraEval-Audio asks
TOGETHER: Final = 32  # batches of prompts that are read at a time; waves of a whole set may not fit the memory

# Decoding of spoken replies (docs/evaluation.md): text greedy, speech drawn.
SPEECH: Final = Sampling(temperature=0.8, top_p=0.9, repetition_penalty=1.2)


@dataclasses.dataclass(frozen=True)
class Answering:
    """How a model answers.

    Attributes:
      rows: rows that are answered side by side.
      max_steps: most text ids of a reply; None for 2048, or a quarter of the model's context if that is less.
      seed: of the draws; a row draws the same whatever else is answered.
      persona: text after the system prompt of benchmarks such as VStyle.
      speech: how speech ids are drawn.
    """

    rows: int = 8
    max_steps: int | None = None
    seed: int = 0
    persona: str = ""
    speech: Sampling = SPEECH

    def decoding(self, benchmark: Benchmark, context: int) -> Decoding:
        """Returns the decoding of a benchmark: greedy text, and drawn speech where replies are spoken."""
        steps = self.max_steps or min(MOST_STEPS, context // 4)
        speech = self.speech if benchmark.speaks else GREEDY
        return Decoding("joint" if benchmark.speaks else "text", steps, speech=speech)


def file_of(folder: Path, shard: HostShard) -> Path:
    """Returns the file of the answers of one host."""
    return folder / (PREDICTIONS if shard.hosts == 1 else f"predictions.{shard.host + 1}-of-{shard.hosts}.jsonl")


def answered(file: Path) -> dict[str, dict[str, Any]]:
    """Returns the answers in a file by id; none if there is no such file."""
    return {row["id"]: row for row in AppendedLines(file).rows}


def check_how(folder: Path, how: dict[str, Any]) -> None:
    """Notes how the answers of a folder are made.

    Raises:
      InputError: the folder holds answers that were made in another way.
    """
    file = folder / HOW
    before = json.loads(file.read_text("utf-8")) if file.exists() else how
    other = sorted(key for key in how.keys() | before.keys() if how.get(key) != before.get(key))
    if other and any(folder.glob("predictions*.jsonl")):
        raise InputError(f"{folder}: holds answers that were made with another {', '.join(other)}; name another --out")
    write_text(file, json.dumps(how, indent=1, ensure_ascii=False) + "\n")


def answer(
    model: Model, benchmark: Benchmark, items: Sequence[Item], how: Answering, folder: Path, shard: HostShard
) -> None:
    """Answers the rows of this host that have no answer yet.

    Raises:
      InputError: the audio of a row cannot be read, a row has none, or does not fit the context; names the row.
    """
    file = file_of(folder, shard)
    done = answered(file)
    mine = [(number, item) for number, item in enumerate(items) if number % shard.hosts == shard.host]
    left = [(number, item) for number, item in mine if item.id not in done]
    if not left:
        return
    out = AppendedLines(file)
    with contextlib.closing(out), bar(benchmark.name, len(mine)) as advance:
        advance(len(mine) - len(left))
        for start in range(0, len(left), how.rows * TOGETHER):
            try:
                for row in _answers(model, benchmark, left[start : start + how.rows * TOGETHER], how, folder):
                    out.append(row)
                    advance(1)
            except InputError as error:
                raise InputError(f"{benchmark.name}: {error}") from error


def _answers(
    model: Model, benchmark: Benchmark, chunk: Sequence[tuple[int, Item]], how: Answering, folder: Path
) -> Iterator[dict[str, Any]]:
    asked = [conversation(benchmark, item, how.persona) for _, item in chunk]
    numbers = [number for number, _ in chunk]
    replies = model.respond_to(asked, how.decoding(benchmark, model.config.context), how.seed, how.rows, numbers)
    for (number, item), reply in zip(chunk, replies, strict=True):
        sound = None
        if reply.wave.size:
            sound = f"{SOUNDS}/{number:05d}.flac"  # ids may hold what a file name must not
            (folder / SOUNDS).mkdir(exist_ok=True)
            soundfile.write(folder / sound, np.clip(reply.wave, -1, 1), reply.rate, subtype="PCM_16")
        yield prediction_row(item, reply.text, sound) | {"finished": reply.finished}


def conversation(benchmark: Benchmark, item: Item, persona: str) -> Conversation:
    """Returns the system prompt of a row and its user's turn."""
    if item.audio is None:
        raise InputError(f"{benchmark.name}: row {item.id} has no audio")
    wave, _ = item.audio.read(RATE)
    try:
        instruction = benchmark.instruction(item.fields)
    except KeyError as error:
        raise InputError(f"row {item.id} has no column {error}") from None
    turn = Turn("user", instruction, wave=wave)
    return Conversation(item.id, benchmark.system(item.fields, persona), (turn,))


def join(items: Sequence[Item], folder: Path, hosts: int) -> None:
    """Writes `predictions.jsonl` in the order of the set from the files of all hosts, or from its own.

    Answers to rows that are not asked for now, as by a smaller --most, stay behind them.

    Raises:
      InputError: a row has no answer.
    """
    found: dict[str, dict[str, Any]] = {}
    for host in range(hosts):
        found |= answered(file_of(folder, HostShard(host, hosts)))
    missing = [item.id for item in items if item.id not in found]
    if missing:
        raise InputError(f"{folder}: {len(missing)} rows have no answer, the first is {missing[0]}")
    asked = {item.id: found.pop(item.id) for item in items}
    lines = (json.dumps(row, ensure_ascii=False) for row in (*asked.values(), *found.values()))
    write_text(folder / PREDICTIONS, "".join(f"{line}\n" for line in lines))
