"""Client secrets: keys of one connection, in the memory of a server, or in a folder that several servers share.

A secret is found by its hash, so that neither the time of a look-up nor a file tells anything of it.
"""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fac_jax.io import write_text


@dataclasses.dataclass(frozen=True)
class Secret:
    """What a client secret stands for.

    Attributes:
      client: who made it (`security.Access`).
      session: fields of the session that it is bound to.
      expires_at: second of the day at which it expires.
    """

    client: str
    session: Mapping[str, Any]
    expires_at: int


class ClientSecrets(Protocol):
    """The client secrets that are not used yet."""

    def put(self, secret: str, meaning: Secret) -> None:
        """Keeps a secret."""
        ...

    def find(self, secret: str) -> Secret | None:
        """Returns what a secret stands for; None if it is unknown, used or expired."""
        ...

    def use(self, secret: str) -> bool:
        """Uses a secret up; returns whether nobody else did before."""
        ...

    def count(self, client: str) -> int:
        """Returns how many a client has."""
        ...


class SecretsInMemory:
    """Secrets of one server."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._kept: dict[str, Secret] = {}

    def put(self, secret: str, meaning: Secret) -> None:
        """See `ClientSecrets`."""
        self._kept[_digest(secret)] = meaning

    def find(self, secret: str) -> Secret | None:
        """See `ClientSecrets`."""
        found = self._kept.get(_digest(secret))
        return None if found is None or found.expires_at <= self._clock() else found

    def use(self, secret: str) -> bool:
        """See `ClientSecrets`."""
        return self._kept.pop(_digest(secret), None) is not None

    def count(self, client: str) -> int:
        """See `ClientSecrets`; forgets those that have expired."""
        now = self._clock()
        self._kept = {name: one for name, one in self._kept.items() if one.expires_at > now}
        return sum(one.client == client for one in self._kept.values())


class SecretFiles:
    """Secrets of all servers that share a folder: one file each, which the first server that removes it has used."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        """Makes the folder if it is absent; only its owner can read what is in it."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._clock = folder, clock

    def put(self, secret: str, meaning: Secret) -> None:
        """See `ClientSecrets`."""
        write_text(self._file(secret), json.dumps(dataclasses.asdict(meaning)))

    def find(self, secret: str) -> Secret | None:
        """See `ClientSecrets`."""
        found = _read(self._file(secret))
        return None if found is None or found.expires_at <= self._clock() else found

    def use(self, secret: str) -> bool:
        """See `ClientSecrets`."""
        try:
            self._file(secret).unlink()
        except FileNotFoundError:
            return False
        return True

    def count(self, client: str) -> int:
        """See `ClientSecrets`; forgets those that have expired."""
        number = 0
        for file in self._folder.glob("*.json"):
            found = _read(file)
            if found is not None and found.expires_at <= self._clock():
                file.unlink(missing_ok=True)
            elif found is not None:
                number += found.client == client
        return number

    def _file(self, secret: str) -> Path:
        return self._folder / f"{_digest(secret)}.json"


def _read(file: Path) -> Secret | None:
    try:
        return Secret(**json.loads(file.read_text("utf-8")))
    except FileNotFoundError:
        return None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("latin-1", "backslashreplace")).hexdigest()
