"""The recording of one talk: a WAV file with the user on the left and the model on the right, and all events.

Events are those of the protocol, one JSON object a line with the milliseconds of the talk; their audio is replaced by
its length, as in the page's own download.
"""

import base64
import json
import shutil
import wave
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from fac_jax.serving.realtime.refused import RefusedError
from fac_jax.serving.realtime.settings import G711, Pcm
from fac_jax.serving.realtime.sound import Resampler, from_base64
from fac_jax.serving.record.track import RATE, Track

Side: TypeAlias = Literal["client", "server"]

MARGIN_S: Final = 1.0  # audio is written so much later than it is heard: what comes late has its place then
AHEAD_S: Final = 60.0  # of audio that comes faster than it is spoken; more of it is left out
PART: Final = ".part"  # behind the name of a folder that is not finished

_AUDIO: Final = {  # field of an event with audio, and its side
    "input_audio_buffer.append": "audio",
    "session.input_audio.append": "audio",
    "response.output_audio.delta": "delta",
    "session.output_audio.delta": "delta",
}


class Recording:
    """A recording that is being written; called by one thread."""

    def __init__(self, folder: Path, most_bytes: int, reserve_bytes: int) -> None:
        """Makes the folder.

        Args:
          folder: of this talk; it has another name until `close`.
          most_bytes: of the events; no more are written then.
          reserve_bytes: of the disk that stay free; less ends the recording.

        Raises:
          OSError: the disk cannot be written to.
        """
        self._folder, self._reserve = folder, reserve_bytes
        self._part = folder.with_name(folder.name + PART)
        self._part.mkdir(mode=0o700)
        self._events = (self._part / "events.jsonl").open("w", encoding="utf-8")
        self._left = most_bytes
        self._wav = wave.open(str(self._part / "talk.wav"), "wb")  # noqa: SIM115 (closed by `close`)
        self._wav.setnchannels(2)
        self._wav.setsampwidth(2)
        self._wav.setframerate(RATE)
        self._tracks: dict[Side, Track] = {"client": Track(), "server": Track()}
        self._forms: dict[Side, tuple[str, int]] = {"client": ("audio/pcm", RATE), "server": ("audio/pcm", RATE)}
        self._resamplers: dict[Side, Resampler] = {}
        self._written_s = 0.0
        self.full = False

    def add(self, seconds: float, side: Side, event: Mapping[str, Any]) -> None:
        """Adds an event at a time of the talk.

        Raises:
          OSError: the disk cannot be written to.
        """
        field = _AUDIO.get(str(event.get("type")))
        told = dict(event)
        if field is not None and isinstance(event.get(field), str):
            told[field] = self._hear(seconds, side, event[field])
        if side == "server":
            self._follow(seconds, told)
        line = json.dumps({"t_ms": round(seconds * 1000), "dir": side, "event": told}, ensure_ascii=False) + "\n"
        self._left -= len(line)
        if self._left >= 0:
            self._events.write(line)
        if seconds - self._written_s >= MARGIN_S:
            self._write(seconds - MARGIN_S)
            self.full = self._left < 0 or shutil.disk_usage(self._part).free < self._reserve

    def close(self, seconds: float) -> None:
        """Ends the recording at a time of the talk."""
        self._write(seconds)
        self._events.close()
        self._wav.close()
        self._part.rename(self._folder)

    def _hear(self, seconds: float, side: Side, text: str) -> str:
        """Places the audio of an event, and returns what stands for it."""
        kind, rate = self._forms[side]
        try:
            form = Pcm() if kind == "audio/pcm" else G711.model_validate({"type": kind})
            samples = from_base64(text, form, "audio")
        except RefusedError:
            return f"<{len(text)} characters>"
        if rate != RATE:
            samples = self._resamplers.setdefault(side, Resampler(rate, RATE)).push(samples)
        words = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype(np.int16)
        track, now = self._tracks[side], round(seconds * RATE)
        track.add(words, now - len(words) if side == "client" else now)
        track.cut(now + round(AHEAD_S * RATE))
        return f"<{len(base64.b64decode(text))} bytes>"

    def _follow(self, seconds: float, event: Mapping[str, Any]) -> None:
        """Goes by what an event of the server says of formats, and of replies that end early."""
        kind = event.get("type")
        if kind in ("session.created", "session.updated"):
            audio = event["session"]["audio"]
            self._form("client", audio["input"]["format"])
            self._form("server", audio["output"]["format"])
        elif kind == "session.started":
            self._form("client", event["session"]["audio"]["format"])
            self._form("server", event["session"]["audio"]["format"])
        elif kind == "response.done" and event["response"]["status"] == "cancelled":
            self._tracks["server"].cut(round(seconds * RATE))

    def _form(self, side: Side, form: Mapping[str, Any]) -> None:
        new = (form["type"], form.get("rate", 8_000))
        if new != self._forms[side]:
            self._forms[side] = new
            self._resamplers.pop(side, None)

    def _write(self, seconds: float) -> None:
        """Writes the audio up to a time of the talk."""
        until = round(seconds * RATE)
        sides = [self._tracks[side].take(until) for side in ("client", "server")]
        self._wav.writeframesraw(np.stack(sides, axis=1).astype("<i2").tobytes())
        self._written_s = max(seconds, self._written_s)
