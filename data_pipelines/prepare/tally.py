"""Counts of prepared rows that add up over shards: every value a whole number, so that any order gives the same."""

import bisect
from collections import Counter
from typing import Final, TypeAlias

from data_pipelines.prepare.rows import Prepared, judged_text, spoken
from data_pipelines.prepare.settings import Tools
from data_pipelines.records.record import to_example
from data_pipelines.records.reject import Rejected
from fac_jax.audio.io import RATE
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.grid import positions
from fac_jax.codec.base import TOKEN_RATE

Tally: TypeAlias = Counter[str]  # part and name, with a dot between them
LENGTHS: Final = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)  # LLM positions, upper ends
SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300)  # of audio, upper ends
SAMPLES: Final = RATE // TOKEN_RATE  # of a speech token


def tally(row: Prepared | Rejected, split: str, tools: Tools) -> Tally:
    """Counts one row."""
    if isinstance(row, Rejected):
        return Counter({f"dropped.{row.reason}": 1})
    limits, record = tools.limits, row.record
    found: Tally = Counter({f"rows.{split}": 1, f"kinds.{_kind(row)}": 1, f"turns.{len(record.messages)}": 1})
    for message, audio in spoken(record):
        ids = 0 if audio.tokens is None else len(audio.tokens)
        samples = ids * SAMPLES if audio.wave is None else len(audio.wave)
        found[f"samples.{message.role}"] += samples
        found[f"samples.{split}"] += samples
        if message.role == "assistant":
            found["replies.speech_tokens"] += ids
            found["replies.text_tokens"] += len(limits.tokenizer.encode(message.text))
        if tools.judge is not None:
            heard = judged_text(message, audio, tools.judge) is not None
            found["words.heard" if heard else "words.not_heard"] += 1
    example = to_example(record)
    sides = [example] if isinstance(example, Conversation) else [example.chosen, example.rejected]
    longest = max(positions(side, limits.tokenizer, limits.group_size, limits.delay_groups) for side in sides)
    found[f"positions.{bin_of(longest, LENGTHS)}"] += 1
    found[f"seconds.{bin_of(found[f'samples.{split}'] / RATE, SECONDS)}"] += 1
    return found


def bin_of(value: float, ends: tuple[int, ...]) -> str:
    """The upper end of the bin of a value, inclusive; "more" above the last bin."""
    place = bisect.bisect_left(ends, value)
    return str(ends[place]) if place < len(ends) else "more"


def part(counts: Tally, name: str) -> dict[str, int]:
    """The counts of one part by their names."""
    return {key.partition(".")[2]: value for key, value in counts.items() if key.startswith(f"{name}.")}


def _kind(row: Prepared) -> str:
    """The kind of a row: text or speech of the last question, and of its reply."""
    record = row.record
    messages = (*record.messages, *record.replies[:1])
    asked, answered = ("text" if message.audio is None else "speech" for message in messages[-2:])
    return f"{asked} to {answered}" + ("" if record.preference is None else ", pair")
