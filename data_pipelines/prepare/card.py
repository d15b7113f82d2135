"""The files that finish a preparation: the quarantine and the data card."""

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import soundfile

from data_pipelines.prepare.settings import Tools
from data_pipelines.prepare.tally import LENGTHS, SECONDS, Tally, part
from data_pipelines.records.quarantine import account_line
from data_pipelines.records.record import SCHEMA_VERSION
from data_pipelines.records.validate import EstimatedText
from fac_jax.audio.io import RATE
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.io import write_text

QUARANTINE: Final = "quarantine.jsonl"
LIBRARIES: Final = ("array_record", "numpy", "soundfile", "soxr", "tensorflow-datasets")


@dataclasses.dataclass(frozen=True)
class Card:
    """Totals of the shards.

    Attributes:
      values: contents of card.json.
    """

    values: Mapping[str, Any]

    def __str__(self) -> str:
        """The totals on one line."""
        rows, dropped, hours = (self.values[name] for name in ("rows", "dropped", "hours"))
        return account_line(sum(rows.values()), dropped, sum(hours.values()))


def finish(
    out: Path,
    counts: Tally,
    refused: Iterable[tuple[list[int], Mapping[str, Any]]],
    shards: Mapping[str, str],
    size: int,
    tools: Tools,
) -> Card:
    """Writes quarantine.jsonl, card.json and card.md; each appears complete.

    Args:
      out: folder of the shards.
      counts: counts of all rows.
      refused: lines of the quarantine with the places of their rows, in any order.
      shards: SHA-256 of every shard by name.
      size: bytes of all shards.
      tools: tools that prepared the rows.
    """
    lines = sorted(refused, key=lambda found: found[0])
    write_text(out / QUARANTINE, "".join(json.dumps(line, ensure_ascii=False) + "\n" for _, line in lines))
    card = Card(_values(counts, shards, size, tools))
    write_text(out / "card.json", json.dumps(card.values, indent=1, ensure_ascii=False) + "\n")
    write_text(out / "card.md", _page(card.values))
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
