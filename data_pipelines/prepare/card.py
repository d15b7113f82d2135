"""Counts of prepared rows, and the files that finish a preparation: the quarantine and the data card."""

import bisect
import hashlib
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import soundfile

from data_pipelines.prepare.rows import Prepared, judged_text, spoken
from data_pipelines.prepare.settings import Tools
from data_pipelines.records.record import SCHEMA_VERSION, Record
from data_pipelines.records.reject import Rejected, account_line
from data_pipelines.records.validate import EstimatedText
from fac_jax.audio.io import RATE
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.io import write_text

Tally: TypeAlias = Counter[str]  # part and name, with a dot between them
LENGTHS: Final = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)  # LLM positions, upper ends
SECONDS: Final = (1, 2, 5, 10, 20, 30, 60, 120, 300)  # of audio, upper ends
SAMPLES: Final = RATE // TOKEN_RATE  # of a speech token
QUARANTINE: Final = "quarantine.jsonl"
LIBRARIES: Final = ("array_record", "numpy", "soundfile", "soxr", "tensorflow-datasets")


def tally(row: Prepared | Rejected, split: str, tools: Tools) -> Tally:
    """Counts one row."""
    if isinstance(row, Rejected):
        return Counter({f"dropped.{row.reason}": 1})
    limits, record = tools.limits, row.record
    found: Tally = Counter({f"rows.{split}": 1, f"kinds.{_kind(record)}": 1, f"turns.{len(record.messages)}": 1})
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
    found[f"positions.{bin_of(limits.positions_of(record), LENGTHS)}"] += 1
    found[f"seconds.{bin_of(found[f'samples.{split}'] / RATE, SECONDS)}"] += 1
    return found


def bin_of(value: float, ends: tuple[int, ...]) -> str:
    """The upper end of the bin of a value, inclusive; "more" above the last bin."""
    place = bisect.bisect_left(ends, value)
    return str(ends[place]) if place < len(ends) else "more"


def part(counts: Tally, name: str) -> dict[str, int]:
    """The counts of one part by their names."""
    return {key.partition(".")[2]: value for key, value in counts.items() if key.startswith(f"{name}.")}


def _kind(record: Record) -> str:
    """The kind of a row: text or speech of the last question, and of its reply; or a call."""
    if record.timing is not None:
        return "call"
    messages = (*record.messages, *record.replies[:1])
    asked, answered = ("text" if message.audio is None else "speech" for message in messages[-2:])
    return f"{asked} to {answered}" + ("" if record.preference is None else ", pair")


def summary(card: Mapping[str, Any]) -> str:
    """The totals of a card on one line."""
    return account_line(sum(card["rows"].values()), card["dropped"], sum(card["hours"].values()))


def finish(
    out: Path,
    counts: Tally,
    refused: Iterable[tuple[list[int], Mapping[str, Any]]],
    shards: Mapping[str, str],
    size: int,
    tools: Tools,
) -> dict[str, Any]:
    """Writes quarantine.jsonl, card.json and card.md, each of which appears complete; returns the card."""
    lines = sorted(refused, key=lambda found: found[0])
    write_text(out / QUARANTINE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for _, line in lines))
    card = _values(counts, shards, size, tools)
    write_text(out / "card.json", json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "card.md", _page(card))
    return card


def _values(counts: Tally, checksums: Mapping[str, str], size: int, tools: Tools) -> dict[str, Any]:
    samples, replies, words = (part(counts, name) for name in ("samples", "replies", "words"))
    speech = replies.get("speech_tokens", 0)
    seconds = speech / TOKEN_RATE
    text = replies.get("text_tokens", 0)
    estimated = isinstance(tools.limits.tokenizer, EstimatedText)
    whole = "".join(f"{checksum}  {name}\n" for name, checksum in sorted(checksums.items()))
    return {
        "rows": dict(sorted(part(counts, "rows").items())),
        "hours": {who: round(samples.get(who, 0) / RATE / 3600, 6) for who in ("user", "assistant")},
        "kinds": dict(sorted(part(counts, "kinds").items())),
        "dropped": dict(sorted(part(counts, "dropped").items())),
        "tokens": {
            "speech": speech,
            "speech_per_second": TOKEN_RATE,
            "text_of_spoken_replies": text,
            "text_per_second": round(text / seconds, 3) if seconds else None,
            "counted_by": "an estimate, four bytes a token" if estimated else "the tokenizer",
        },
        "positions": _bins(part(counts, "positions"), LENGTHS),
        "seconds": _bins(part(counts, "seconds"), SECONDS),
        "words": {"audios_heard": words.get("heard", 0), "audios_not_heard": words.get("not_heard", 0)},
        "bytes": size,
        "checksum": hashlib.sha256(whole.encode()).hexdigest(),
        "shards": dict(sorted(checksums.items())),
        "versions": {
            "schema": SCHEMA_VERSION,
            "python": platform.python_version(),
            "libsndfile": soundfile.__libsndfile_version__,
            **{name: importlib.metadata.version(name) for name in LIBRARIES},
        },
    }


def _bins(found: Mapping[str, int], ends: Sequence[int]) -> dict[str, int]:
    return {name: found[name] for name in (*map(str, ends), "more") if name in found}


def _page(values: Mapping[str, Any]) -> str:
    """The card as Markdown."""
    tokens, words = values["tokens"], values["words"]
    rate = "none" if tokens["text_per_second"] is None else f"{tokens['text_per_second']:g} a second"
    facts = {
        "hours of users": f"{values['hours']['user']:.3f}",
        "hours of replies": f"{values['hours']['assistant']:.3f}",
        "speech tokens of replies": f"{tokens['speech']}, {tokens['speech_per_second']} a second",
        "text tokens of spoken replies": f"{tokens['text_of_spoken_replies']}, {rate} ({tokens['counted_by']})",
        "audios heard by the recogniser": f"{words['audios_heard']}, not heard {words['audios_not_heard']}",
        "bytes": str(values["bytes"]),
        "SHA-256 of the list of shards": f"`{values['checksum']}`",
    }
    tables = [
        ("Rows", "split", values["rows"]),
        ("Kinds", "question to answer", values["kinds"]),
        ("Dropped", "reason", values["dropped"]),
        ("LLM positions", "up to", values["positions"]),
        ("Seconds of audio", "up to", values["seconds"]),
    ]
    parts = ["# Data card\n", _table(("", ""), facts)]
    for title, head, found in tables:
        parts.append(f"\n## {title}\n\n" + (_table((head, "rows"), found) if found else "None.\n"))
    parts.append("\n## Versions\n\n" + _table(("", ""), values["versions"]))
    parts.append("\n## Shards\n\n" + _table(("file", "SHA-256"), values["shards"]))
    return "".join(parts)


def _table(head: tuple[str, str], rows: Mapping[str, Any]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---:|", *(f"| {name} | {value} |" for name, value in rows.items())]
    return "\n".join(lines) + "\n"
