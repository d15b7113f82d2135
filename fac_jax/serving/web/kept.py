"""Keeps answers, so that a client can name them in a later history instead of sending their audio back."""

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from fac_jax.batching.conversation import GeneratedReply

KEPT_S: Final = 3600
_MOST: Final = 4096  # answers; ids alone, some kB each


@dataclasses.dataclass(frozen=True)
class _Kept:
    client: str
    reply: GeneratedReply
    expires_at: float


class KeptReplies:
    """The spoken answers of the last hour; those that nobody named for longest go first when there are many."""

    def __init__(self, most: int = _MOST, clock: Callable[[], float] = time.time) -> None:
        self._most, self._clock = most, clock
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    def put(self, name: str, client: str, reply: GeneratedReply) -> int:
        """Keeps an answer to a client under a name; returns the second at which it expires."""
        expires_at = int(self._clock()) + KEPT_S
        self._kept[name] = _Kept(client, reply, expires_at)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return expires_at

    def get(self, name: str, client: str) -> GeneratedReply | None:
        """Returns an answer to the same client; None if it is not kept."""
        found = self._kept.get(name)
        if found is None or found.client != client:
            return None
        if found.expires_at <= self._clock():
            del self._kept[name]
            return None
        self._kept.move_to_end(name)
        return found.reply
