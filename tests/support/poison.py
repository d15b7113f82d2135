"""Good and bad rows of the release's format, every kind of bad one that there is, and the recordings that they name."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from toy_world import UNITS
from user_rows import PLACEHOLDER, encoded, heard, release_row, save, spoken, tone, write_jsonl

from data_pipelines.records.reject import Reason

Poison = dict[str, tuple[Any, Reason]]


def wav(samples: np.ndarray, rate: int = 16_000, subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, subtype=subtype, format="WAV")
    return buffer.getvalue()


def asked(path: str, seconds: float = 1.0, **changes: Any) -> dict[str, Any]:
    return release_row(PLACEHOLDER, "yes", audio=[heard(path, seconds, **changes)])


def said(text: str, units: Any, ref_path: str = "") -> dict[str, Any]:
    return release_row("hi", PLACEHOLDER, audio=[spoken(text, units, ref_path)])


def compared(**changes: Any) -> dict[str, Any]:
    sides = {side: {"role": "assistant", "content": words} for side, words in (("chosen", "yes"), ("rejected", "no"))}
    return {**release_row("hi"), **sides, "task": "robustness", **changes}


GOOD = {
    "spoken": release_row(PLACEHOLDER, PLACEHOLDER, audio=[heard("good.wav", 1.0), spoken("yes", range(UNITS))]),
    "text": release_row("hi", "hello"),
    "resampled": asked("good.flac"),
    "pair": compared(),
    "within the tolerance": asked("good.wav", 1.08),
    "the recording of a reply is gone": said("yes", [1, 2], "gone.wav"),
    "the recording of a reply fits": said("yes", [1] * 26, "good.wav"),
    "words behind the audio": release_row(f"{PLACEHOLDER}\nhi", "yes", audio=[heard("good.wav", 1.0)]),
    "more text than speech": said("one plus two is zero minus two plus one " * 20, [1]),
}
POISON: Poison = {
    "no JSON": (b'{"messages": [', Reason.MALFORMED),
    "no UTF-8": (b'{"messages": [{"role": "user", "content": "\xff"}]}', Reason.BAD_UTF8),
    "half a character": (
        b'{"messages":[{"role":"user","content":"\\ud800"},{"role":"assistant","content":"x"}]}',
        Reason.BAD_UTF8,
    ),
    "no messages": ({"system": "x"}, Reason.MISSING_KEY),
    "messages of another kind": ({"messages": {"role": "user"}}, Reason.WRONG_TYPE),
    "the same id": ({"id": "text", **release_row("hi", "hello")}, Reason.DUPLICATE_ID),
    "an unknown role": (
        {"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]},
        Reason.UNKNOWN_ROLE,
    ),
    "the user last": (release_row("a", "b", "c"), Reason.ROLE_ORDER),
    "nobody": (release_row(), Reason.ROLE_ORDER),
    "the assistant first": ({"messages": release_row("", "a", "b")["messages"][1:]}, Reason.ROLE_ORDER),
    "an empty message": (release_row("hi", " "), Reason.EMPTY_TEXT),
    "a spoken reply without text": (said("", [1, 2]), Reason.EMPTY_TEXT),
    "more placeholders than audios": (release_row(PLACEHOLDER, "yes"), Reason.PLACEHOLDERS),
    "two audios in a message": (
        release_row(PLACEHOLDER * 2, "yes", audio=[heard("good.wav", 1.0)] * 2),
        Reason.LAYOUT,
    ),
    "no such file": (asked("gone.wav"), Reason.MISSING_AUDIO),
    "a file name beyond all bounds": (asked("x" * 5000), Reason.MISSING_AUDIO),
    "no file named": (asked(""), Reason.MISSING_AUDIO),
    "not audio": (asked("text.wav"), Reason.UNDECODABLE_AUDIO),
    "a cut file": (asked("cut.flac"), Reason.UNDECODABLE_AUDIO),
    "an empty file": (asked("nothing.wav"), Reason.EMPTY_AUDIO),
    "no samples": (asked("none.wav"), Reason.EMPTY_AUDIO),
    "less than a token": (asked("short.wav", 0.0), Reason.EMPTY_AUDIO),
    "no number": (asked("nan.wav"), Reason.NON_FINITE),
    "a rate that cannot be": (asked("slow.wav"), Reason.WRONG_RATE),
    "tokens of another codec": (said("yes", [1, UNITS]), Reason.TOKEN_RANGE),
    "no tokens": (release_row("hi", PLACEHOLDER, audio=[spoken("yes", [], token="[AU-1]")]), Reason.BAD_TOKENS),
    "a reply of neither": (said("yes", []), Reason.BAD_TOKENS),
    "fewer tokens than audio": (asked("good.wav", 0.8), Reason.TOKEN_LENGTH),
    "a reply of another length": (said("yes", [1] * 40, "good.wav"), Reason.TOKEN_LENGTH),
    "too long a text": (release_row("hi", "word " * 2000), Reason.TOO_LONG),
    "too long a reply": (said("yes", [1] * 10_230), Reason.TOO_LONG),
    "an unknown task": (compared(task="beauty"), Reason.UNKNOWN_TASK),
    "one spoken, one not": (
        compared(chosen={"role": "assistant", "content": PLACEHOLDER}, chosen_audio=[spoken("yes", [1])]),
        Reason.UNLIKE_REPLIES,
    ),
    "nothing to prefer": (compared(rejected={"role": "assistant", "content": "yes"}), Reason.UNLIKE_REPLIES),
    "the user replies": (compared(rejected={"role": "user", "content": "no"}), Reason.ROLE_ORDER),
}


def write_poisoned(folder: Path) -> Path:
    """Good and bad rows in turn, and the recordings that they name; bad ones are those of `POISON`, in their order."""
    save(folder / "good.wav", 1.0)
    save(folder / "good.flac", 1.0, 44_100, 2, "FLAC")
    (folder / "text.wav").write_text("this is no audio\n" * 50)
    (folder / "cut.flac").write_bytes(encoded(1.0, format="FLAC")[:30])
    (folder / "nothing.wav").touch()
    (folder / "none.wav").write_bytes(wav(np.zeros(0, np.float32)))
    (folder / "short.wav").write_bytes(wav(tone(0.039)))
    (folder / "nan.wav").write_bytes(wav(np.where(tone(1.0) > 0.29, np.nan, tone(1.0)), subtype="FLOAT"))
    (folder / "slow.wav").write_bytes(wav(tone(1.0), rate=100))
    good = [{"id": name, **row} for name, row in GOOD.items()]
    bad = [row for row, _ in POISON.values()]
    mixed = [*good[:2], *(row for i, poison in enumerate(bad) for row in (poison, *good[i + 2 : i + 3]))]
    return write_jsonl(folder / "rows.jsonl", mixed)
