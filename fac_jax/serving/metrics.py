"""What a server tells prometheus; `GET /metrics` shows it."""

import threading
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_FAST: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # s, of parts of a step
_SLOW: Final = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 5.0)  # s, of what a user waits for


class Metrics:
    """The metrics of one server, in a registry of its own, so that servers of one process do not mix.

    Attributes:
      registry: of all of them.
      sessions: sockets that are open and chat completions that run.
      sessions_kept: sessions of which the engine keeps something between their turns.
      tasks: of the event loop that shows the metrics.
      slots_used: slots of the engine that hold a reply.
      queue_depth: requests that wait for a slot.
      kv_bytes_used: bytes of keys and values of replies that run.
      kv_bytes_reserved: bytes that are set aside for them.
      kv_bytes_parked: bytes of them in host memory, of sessions that had to leave their slots.
      heard_bytes: bytes of users' waves and of what was encoded of them, in host memory.
      first_audio: seconds from the end of a user's speech to the first audio on the wire.
      step: seconds of an LLM step.
      codec: seconds of a batch of the codec.
      prefill: seconds of the pass over a prompt.
      interrupt: seconds from a user's onset to the last audio of the reply that it stops.
      underruns: times that a listener had nothing left to play while a reply was being made.
      tokens: ids made, by stream: "text" or "speech".
      errors: errors that clients were told, by their code.
      closed: WebSocket connections that were closed, by close code; `web.sockets` counts them for every socket.
      compilations: programs that were compiled after the warm-up.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def gauge(name: str, says: str) -> Gauge:
            return Gauge(f"fac_{name}", says, registry=self.registry)

        def seconds(name: str, says: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"fac_{name}_seconds", says, registry=self.registry, buckets=buckets)

        def counter(name: str, says: str, *labels: str) -> Counter:
            return Counter(f"fac_{name}_total", says, labels, registry=self.registry)

        self.sessions = gauge("sessions", "Open sockets and running chat completions")
        self.sessions_kept = gauge("sessions_kept", "Sessions of which the engine keeps something between their turns")
        self.tasks = gauge("tasks", "Tasks of the event loop")
        gauge("threads", "Threads of Python").set_function(threading.active_count)
        ProcessCollector(registry=self.registry)
        self.slots_used = gauge("slots_used", "Slots that hold a reply")
        self.queue_depth = gauge("queue_depth", "Requests that wait for a slot")
        self.kv_bytes_used = gauge("kv_bytes_used", "Bytes of keys and values of running replies")
        self.kv_bytes_reserved = gauge("kv_bytes_reserved", "Bytes set aside for keys and values")
        self.kv_bytes_parked = gauge("kv_bytes_parked", "Bytes of keys and values in host memory")
        self.heard_bytes = gauge("heard_bytes", "Bytes of users' audio and of its features in host memory")
        self.first_audio = seconds("first_audio", "End of the user's speech to the first audio sent", _SLOW)
        self.step = seconds("step", "An LLM step", _FAST)
        self.codec = seconds("codec", "A batch of the codec", _FAST)
        self.prefill = seconds("prefill", "The pass over a prompt", _FAST)
        self.interrupt = seconds("interrupt", "A user's onset to the last audio of the stopped reply", _SLOW)
        self.underruns = counter("underruns", "Times that a listener had nothing left to play")
        self.tokens = counter("tokens", "Ids made", "stream")
        self.errors = counter("errors", "Errors that clients were told", "code")
        self.closed = counter("closed", "WebSocket connections closed", "code")
        self.compilations = counter("compilations", "Programs compiled after the warm-up")

    def text(self) -> bytes:
        """Returns all metrics in prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self.registry)
