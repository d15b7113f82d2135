"""Recordings and rows as users bring them, made by the tests themselves."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from data_pipelines.records.record import Record
from data_pipelines.records.reject import Rejected

PLACEHOLDER = "<|audio_bos|><|AUDIO|><|audio_eos|>"


def tone(seconds: float, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    """A tone of 440 Hz, float32 `[N, channels]`."""
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def encoded(seconds: float, rate: int = 16_000, channels: int = 1, format: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(seconds, rate, channels), rate, format=format)
    return buffer.getvalue()


def save(path: Path, seconds: float, rate: int = 16_000, channels: int = 1, format: str = "WAV") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(seconds, rate, channels, format))
    return path


def heard(path: Any, seconds: float, words: str = "hello", **changes: Any) -> str:
    """The release's audio entry of a user."""
    pads = "<|audio_pad|>" * int(25 * seconds)
    entry = {"path": path, "text": "", "token": pads, "ref_path": "", "ref_text": words, **changes}
    return json.dumps(entry, ensure_ascii=False)


def spoken(text: str, units: Iterable[int], ref_path: str = "", **changes: Any) -> str:
    """The release's audio entry of an assistant."""
    token = "<|audio_bos|>" * 10 + "".join(f"[AU{unit:04d}]" for unit in units)
    entry = {"path": "", "text": text, "token": token, "ref_path": ref_path, "ref_text": "", **changes}
    return json.dumps(entry, ensure_ascii=False)


def release_row(*contents: str, audio: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """A row of the release; user and assistant in turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]
    return {"system": "Be brief.", "messages": messages, "audio": list(audio), **more}


def write_jsonl(path: Path, rows: Iterable[Any]) -> Path:
    """Rows as lines; bytes go in as they are."""
    lines = [row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def preference_row(**changes: Any) -> dict[str, Any]:
    sides = {side: {"role": "assistant", "content": PLACEHOLDER} for side in ("chosen", "rejected")}
    audio = {"chosen_audio": [spoken("yes", [1, 2])], "rejected_audio": [spoken("no", [3])]}
    row = release_row(PLACEHOLDER, audio=[heard("a.wav", 1.0)])
    return {**row, **sides, **audio, "task": "empathy", **changes}


def told(found: Record | Rejected) -> Any:
    """A row in short: id, roles and words; a bad row's line and reason."""
    if isinstance(found, Rejected):
        return (found.line, found.reason)
    return (
        found.id,
        *[f"{m.role[0]}:{m.lead}{'~' if m.audio else ''}{m.text}" for m in (*found.messages, *found.replies)],
    )
