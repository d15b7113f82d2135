"""Requests that wait for a slot."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from fac_jax.serving.engine.talks import Talk


class Waiting:
    """A queue in which sessions take turns, so that one with many requests does not keep the others waiting."""

    def __init__(self, seconds: float) -> None:
        """Each request waits for at most `seconds`."""
        self._seconds = seconds
        self._queues: OrderedDict[object, deque[Talk]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        """Returns the number of requests that wait."""
        return self._count

    def __iter__(self) -> Iterator[Talk]:
        """Yields the requests that wait."""
        for queue in self._queues.values():
            yield from queue

    def add(self, talk: Talk) -> None:
        """Puts a request at the end of its session's queue."""
        key = talk.request.session if talk.request.session is not None else talk
        self._queues.setdefault(key, deque()).append(talk)
        self._count += 1

    def next(self) -> Talk | None:
        """Takes the first request of the session whose turn it is; None if nobody waits."""
        if not self._queues:
            return None
        key, queue = self._queues.popitem(last=False)
        if len(queue) > 1:
            self._queues[key] = queue
        self._count -= 1
        return queue.popleft()

    def remove(self, talk: Talk) -> None:
        """Takes a request out."""
        self._keep(lambda one: one is not talk)

    def expired(self, now: float) -> list[Talk]:
        """Takes out, and returns, the requests that have waited too long."""
        return self._keep(lambda one: now - one.asked_at <= self._seconds)

    def clear(self) -> list[Talk]:
        """Takes out, and returns, all of them."""
        return self._keep(lambda _: False)

    def _keep(self, stays: Callable[[Talk], bool]) -> list[Talk]:
        gone: list[Talk] = []
        for key, queue in list(self._queues.items()):
            gone += [one for one in queue if not stays(one)]
            staying = deque(one for one in queue if stays(one))
            if staying:
                self._queues[key] = staying
            else:
                del self._queues[key]
        self._count -= len(gone)
        return gone
