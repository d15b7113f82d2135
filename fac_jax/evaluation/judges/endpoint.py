"""A judge behind any OpenAI-compatible endpoint: threads, retries, a price cap, and no reply paid twice."""

import concurrent.futures
import contextlib
import dataclasses
import importlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from fac_jax.evaluation.judges.base import PRICE_CAP, UNREADABLE, Accept, Decoding, JudgeIdentity, Judgement, Request
from fac_jax.evaluation.judges.config import JudgeConfig
from fac_jax.evaluation.judges.messages import messages
from fac_jax.evaluation.judges.store import Asked, Record, Store, Usage, sets_of
from fac_jax.evaluation.judges.templates import Prompts
from fac_jax.types import InputError

LONGEST_PAUSE: Final = 60.0  # seconds before another attempt
BUSY: Final = (408, 409, 425, 429)  # status codes after which the same request may succeed, with all from 500 on
WRONG_SET_UP: Final = {401: "the key is refused", 404: "no such address or model"}
STOPPED: Final = "stopped"


class _UnansweredError(Exception):
    """An attempt that brought no reply; `again` says whether another may, `pause` the seconds the server asks for."""

    def __init__(self, cause: str, again: bool = True, pause: float | None = None) -> None:
        super().__init__(cause)
        self.cause, self.again, self.pause = cause, again, pause


class EndpointJudge:
    """Asks a model behind a chat endpoint.

    A request is sent again, at most `retries` times, after a timeout, a broken connection, a server that is busy or
    fails, an answer that is no chat completion, and a reply that cannot be read. Then it has no judgement, and the
    others go on. Unreadable replies are in the file too, so that a resumed run does not pay for them again.

    Requests that are under way when the price cap is reached are still paid: at most one for each thread.
    """

    def __init__(self, config: JudgeConfig, store: Store, prompts: Prompts) -> None:
        """Makes the client; nothing is sent.

        Raises:
          InputError: the package openai or the key is missing.
        """
        self._config, self._store, self._prompts = config, store, prompts
        self._host = urlsplit(config.base_url).hostname or config.base_url
        self._openai = _openai()
        # Retries of the client would hide from our count, and might be paid.
        self._client = self._openai.OpenAI(
            api_key=_key(config), base_url=config.base_url, timeout=config.timeout_s, max_retries=0
        )

    @property
    def spent(self) -> float | None:
        """Returns what all replies of this judge in the file have cost; None without prices."""
        prices = self._config.price_per_million_in, self._config.price_per_million_out
        if prices[0] is None or prices[1] is None:
            return None
        usage = self._store.usage(self._config.model, self._host)
        return (usage.tokens_in * prices[0] + usage.tokens_out * prices[1]) / 1e6

    def identity(self, template: str) -> JudgeIdentity:
        """Says which model at which host judges by which prompt."""
        prompt, decoding = self._prompts[template], self._config.decoding(template)
        hashes = prompt.sha256, prompt.system_sha256
        return self._prompts.identity("endpoint", template, self._config.model, self._host, hashes, decoding)

    def ask(self, requests: Sequence[Request], accept: Accept) -> Iterator[Judgement]:
        """Yields judgements as they come; see `Judge.ask`.

        Raises:
          InputError: the endpoint refuses the key or knows no such model, or it does not count tokens although there
            is a price cap.
        """
        rows: dict[Asked, list[Request]] = {}
        for request in requests:
            rows.setdefault(self._asked(request), []).append(request)
        stop = threading.Event()
        with concurrent.futures.ThreadPoolExecutor(self._config.threads) as pool:
            futures = {
                pool.submit(self._judge, asked, same[0], accept, stop): [one.id for one in same]
                for asked, same in rows.items()
            }
            try:
                for future in concurrent.futures.as_completed(futures):
                    judgement = future.result()
                    yield from (dataclasses.replace(judgement, id=one) for one in futures[future])
            finally:  # an error, Ctrl-C, or a reader who has seen enough: send nothing more
                stop.set()
                pool.shutdown(cancel_futures=True)

    def _asked(self, request: Request) -> Asked:
        prompt, digest = self._prompts[request.template], request.sha256(self._config.decoding(request.template))
        return Asked(request.template, digest, prompt.sha256, prompt.system_sha256, self._config.model, self._host)

    def _judge(self, asked: Asked, request: Request, accept: Accept, stop: threading.Event) -> Judgement:
        """Asks until the replies can be read or the attempts are used up; those in the file count as attempts."""
        decoding = self._config.decoding(request.template)
        failures, cause, pause = 0, UNREADABLE, 0.0
        while True:
            said = self._store.replies(asked)
            sets = sets_of(said, decoding.replies)
            for replies in filter(accept, sets):
                return Judgement(request.id, replies)
            last = sets[-1] if sets else None
            if len(sets) + failures > self._config.retries:
                return Judgement(request.id, last, cause if last is None else UNREADABLE)
            if stop.wait(pause):
                return Judgement(request.id, last, STOPPED)
            if self._config.price_cap is not None and (self.spent or 0.0) >= self._config.price_cap:
                return Judgement(request.id, last, PRICE_CAP)
            missing = decoding.replies - len(said) % decoding.replies
            try:
                record = self._send(asked, request, dataclasses.replace(decoding, replies=missing))
            except _UnansweredError as error:
                failures, cause = failures + 1, error.cause
                if not error.again:
                    return Judgement(request.id, last, cause)
                backoff = self._config.backoff_s * 2 ** (failures - 1) if error.pause is None else error.pause
                pause = min(backoff, LONGEST_PAUSE)
                continue
            pause = 0.0
            self._store.add(record)
            if self._config.price_cap is not None and record.usage is None:
                raise InputError(
                    f"judge at {self._host}: it counts no tokens, so that price_cap cannot be kept; unset it"
                )

    def _send(self, asked: Asked, request: Request, decoding: Decoding) -> Record:
        """Sends one request and reads what comes back.

        Raises:
          _UnansweredError: no reply came.
          InputError: the same would happen to every request.
        """
        settings: dict[str, Any] = {"temperature": decoding.temperature, "top_p": decoding.top_p}
        settings |= {"max_tokens": decoding.max_tokens, "n": decoding.replies if decoding.replies > 1 else None}
        chat: Any = messages(self._prompts[request.template], request)
        try:
            answer = self._client.chat.completions.with_raw_response.create(
                model=self._config.model,
                messages=chat,
                **{name: value for name, value in settings.items() if value is not None},
            )
            return _record(asked, answer.http_response.json(), decoding.replies)
        except self._openai.APITimeoutError as error:
            raise _UnansweredError("timeout") from error
        except self._openai.APIConnectionError as error:
            raise _UnansweredError("no connection") from error
        except self._openai.APIStatusError as error:
            code = error.status_code
            if code in WRONG_SET_UP:
                said = " ".join(str(error).split())
                raise InputError(f"judge {self._config.model} at {self._host}: {WRONG_SET_UP[code]}: {said}") from error
            again = code in BUSY or code >= 500
            raise _UnansweredError(f"HTTP {code}", again, _asked_pause(error.response.headers)) from error
        except ValueError as error:  # no JSON, or JSON of another shape
            raise _UnansweredError("nonsense") from error


def _record(asked: Asked, answer: Any, most: int) -> Record:
    """Reads a chat completion; raises ValueError if it is none."""
    try:
        replies = tuple(choice["message"]["content"] or "" for choice in answer["choices"][:most])
        counted = answer.get("usage")
        usage = counted and Usage(int(counted["prompt_tokens"]), int(counted["completion_tokens"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("no chat completion") from error
    if not replies or not all(isinstance(reply, str) for reply in replies):
        raise ValueError("no reply")
    return Record(asked, replies, usage or None)


def _asked_pause(headers: Mapping[str, str]) -> float | None:
    with contextlib.suppress(KeyError, ValueError):  # the header may also hold a date
        return max(0.0, float(headers["retry-after"]))
    return None


def _openai() -> Any:
    try:
        return importlib.import_module("openai")
    except ImportError as error:
        raise InputError(f"openai cannot be imported ({error}): pip install -e '.[judge]'") from error


def _key(config: JudgeConfig) -> str:
    if not config.key_variable:
        return "none"  # the client wants one; servers on this machine do not read it
    key = os.environ.get(config.key_variable)
    if not key:
        raise InputError(
            f"judge at {config.base_url}: the environment variable {config.key_variable} holds no key; "
            "judge.key_variable names another; --scoring.judge.key_variable= is for a server without keys"
        )
    return key
