"""A judge on this machine for tests: answers chat completions as told, and remembers what it was asked."""

import dataclasses
import http.server
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the server sends: replies as a chat completion, or `body` as it is, after `delay` seconds."""

    replies: tuple[str, ...] = ("5",)
    status: int = 200
    delay: float = 0.0
    body: bytes | None = None
    tokens: tuple[int, int] | None = (100, 10)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)


class JudgeServer:
    """An OpenAI-compatible server on 127.0.0.1, for the length of a `with` block.

    Attributes:
      asked: bodies of all requests, in the order of their arrival.
      most_at_once: the most requests that were under way together.
    """

    def __init__(self, answer: Callable[[dict[str, Any], int], Answer]) -> None:
        """`answer` gets the body of a request and how many came before it."""
        self.asked: list[dict[str, Any]] = []
        self.most_at_once = 0
        self._under_way = 0
        self._lock = threading.Lock()
        judge = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with judge._lock:
                    number = len(judge.asked)
                    judge.asked.append(body)
                    judge._under_way += 1
                    judge.most_at_once = max(judge.most_at_once, judge._under_way)
                found = answer(body, number)
                time.sleep(found.delay)
                with judge._lock:
                    judge._under_way -= 1
                self._send(found)

            def _send(self, found: Answer) -> None:
                data = _completion(found) if found.body is None else found.body
                try:
                    self.send_response(found.status)
                    for name, value in {"content-type": "application/json", **found.headers}.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):  # who asked did not wait
                    pass

            def log_message(self, *args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "JudgeServer":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def texts(self) -> list[str]:
        """Returns the user's texts of all requests."""
        return [body["messages"][-1]["content"] for body in self.asked]


def _completion(found: Answer) -> bytes:
    choices = [{"index": i, "message": {"role": "assistant", "content": one}} for i, one in enumerate(found.replies)]
    answer: dict[str, Any] = {"object": "chat.completion", "choices": choices}
    if found.tokens is not None:
        answer["usage"] = {"prompt_tokens": found.tokens[0], "completion_tokens": found.tokens[1]}
    return json.dumps(answer).encode()
