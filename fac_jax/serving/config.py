"""The server's settings and limits, in one place."""

import dataclasses
import os
from pathlib import Path
from typing import Final

from fac_jax.types import InputError

KEYS_VARIABLE: Final = "FAC_API_KEYS"


@dataclasses.dataclass(frozen=True)
class Limits:
    """What one client may use; `GET /v1/models/{id}` shows them as `limits`.

    Attributes:
      message_bytes: of a WebSocket message.
      body_bytes: of an HTTP request.
      events_per_second: client events of a connection.
      audio_rate: seconds of audio per second of time, over 10 s, beyond `audio_burst_s`.
      audio_burst_s: seconds of audio that may come at once.
      turn_s: seconds of a user's turn.
      reply_s: seconds of a reply; one text id is 0.2 s.
      items: items of a conversation.
      text_bytes: UTF-8 bytes of the text of an item.
      tools_bytes: bytes of the tools of a session, as JSON.
      nesting: depth of a client's JSON.
      session_s: seconds of a session.
      idle_s: seconds without any event after which a session ends.
      sessions: sessions at once.
      sessions_per_key: sessions of one key at once.
      queue_bytes: output that waits for a slow reader.
      send_s: seconds that one message to a slow reader may take.
      resume_s: seconds after the loss of a connection within which its session can be resumed.
      secret_s: seconds for which a client secret is valid.
      malformed: malformed messages in a row after which a connection is closed.
    """

    message_bytes: int = 4 << 20
    body_bytes: int = 16 << 20
    events_per_second: float = 200.0
    audio_rate: float = 4.0
    audio_burst_s: float = 30.0
    turn_s: float = 120.0
    reply_s: float = 120.0
    items: int = 512
    text_bytes: int = 32 << 10
    tools_bytes: int = 64 << 10
    nesting: int = 32
    session_s: float = 3600.0
    idle_s: float = 600.0
    sessions: int = 64
    sessions_per_key: int = 64
    queue_bytes: int = 8 << 20
    send_s: float = 10.0
    resume_s: float = 300.0
    secret_s: float = 600.0
    malformed: int = 5


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """How a server is set up.

    Attributes:
      keys: keys that clients give; none for a server that only this machine reaches.
      origins: web origins that may open sockets, besides the server's own.
      limits: of every client.
      transcribe: whether a user's speech is written down by the model itself for sessions that ask for it.
      log_content: whether logs may hold texts; they never hold audio or keys.
      drain_s: seconds that running talks may go on after SIGTERM.
    """

    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    limits: Limits = Limits()
    transcribe: bool = True
    log_content: bool = False
    drain_s: float = 30.0


def keys(file: str | None) -> tuple[str, ...]:
    """Returns the keys of the environment variable `FAC_API_KEYS`, with commas between, and of a file, one a line.

    Raises:
      InputError: the file cannot be read, or holds no key.
    """
    given = os.environ.get(KEYS_VARIABLE, "").split(",")
    lines = []
    if file is not None:
        try:
            lines = [line for line in Path(file).read_text("utf-8").splitlines() if line.strip()]
        except OSError as error:
            raise InputError(f"--keys_file={file}: {error.strerror}") from None
        if not lines:
            raise InputError(f"--keys_file={file}: holds no key")
    return tuple(dict.fromkeys(key.strip() for key in (*given, *lines) if key.strip()))
