"""A judge behind an endpoint: what is sent, what is sent again, what is never sent twice, and what it may cost."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import judge_run
import pytest
from judge_server import Answer, JudgeServer

from fac_jax.evaluation.judges.base import Judgement, Request
from fac_jax.evaluation.judges.config import JudgeConfig
from fac_jax.evaluation.judges.make import make_judge
from fac_jax.types import InputError

pytest.importorskip("openai")
FILE = "judgements.jsonl"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def config(url: str, **changes: Any) -> JudgeConfig:
    given: dict[str, Any] = {
        "base_url": url,
        "model": "judge",
        "key_variable": "",
        "backoff_s": 0.01,
        "retries": 2,
        **changes,
    }
    return JudgeConfig(**given)


def rated(row: str) -> Request:
    return Request(row, "evalkit_open", {"question": f"What is {row}?", "prediction": f"It is {row}."})


def is_grade(replies: tuple[str, ...]) -> bool:
    return all(re.fullmatch("[1-5]", one) is not None for one in replies)


def ask(tmp_path: Path, settings: JudgeConfig, *requests: Request, accept: Any = is_grade) -> dict[str, Judgement]:
    judge = make_judge(settings, tmp_path / FILE)
    return {one.id: one for one in judge.ask(requests, accept)}


def always(answer: Answer) -> Callable[[dict[str, Any], int], Answer]:
    return lambda body, number: answer


def test_the_prompt_is_sent_with_the_decoding_of_the_template(tmp_path: Path) -> None:
    request = Request("a", "voicebench_qa", {"prompt": "{reference}?", "reference": "Rome", "response": "In Rome."})
    with JudgeServer(always(Answer(("yes", "no", "yes")))) as server:
        found = ask(tmp_path, config(server.url), request, accept=lambda replies: True)
    assert found["a"].replies == ("yes", "no", "yes")
    (body,) = server.asked
    assert (body["n"], body["temperature"], body["top_p"], body["max_tokens"]) == (3, 0.5, 0.95, 1024)
    assert [one["role"] for one in body["messages"]] == ["system", "user"]
    assert "{reference}?" in server.texts()[0] and "In Rome." in server.texts()[0]  # no field is filled into another


def test_a_listening_judge_gets_the_recordings_in_order(tmp_path: Path) -> None:
    fields = {"instruction_type": "empathy/anger", "input_instruction": "Why me?"}
    request = Request("a", "vstyle_en_empathy", fields, audio=(b"first", b"second"))
    with JudgeServer(always(Answer(("Final score: [[4]]",)))) as server:
        ask(tmp_path, config(server.url), request, accept=lambda replies: True)
    (body,) = server.asked
    text, *audio = body["messages"][0]["content"]
    assert "empathy/anger" in text["text"] and [one["input_audio"]["data"] for one in audio] == ["Zmlyc3Q=", "c2Vjb25k"]
    assert "temperature" not in body and "n" not in body  # the official code leaves them to the server


def test_nothing_is_asked_twice(tmp_path: Path) -> None:
    rows = [rated("one"), rated("two"), dataclasses.replace(rated("one"), id="the same again")]
    with JudgeServer(always(Answer())) as server:
        first = ask(tmp_path, config(server.url), *rows)
        again = ask(tmp_path, config(server.url), *rows)
    assert first == again and set(first) == {"one", "two", "the same again"} and len(server.asked) == 2


@pytest.mark.parametrize("change", [{"model": "another"}, {"temperature": 0.9}, {"prompt_folder": "prompts"}])
def test_another_judge_decoding_or_wording_is_asked_anew(
    tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts/evalkit_open.txt").write_text("Rate {prediction} as an answer to {question}")
    with JudgeServer(always(Answer())) as server:
        ask(tmp_path, config(server.url), rated("one"))
        ask(tmp_path, config(server.url, **change), rated("one"))
    assert len(server.asked) == 2


def test_half_a_line_of_a_killed_run_costs_one_request(tmp_path: Path) -> None:
    rows = [rated(str(i)) for i in range(3)]
    with JudgeServer(always(Answer())) as server:
        ask(tmp_path, config(server.url), *rows)
        file = tmp_path / FILE
        file.write_bytes(file.read_bytes()[:-20])
        ask(tmp_path, config(server.url), *rows)
    assert len(server.asked) == 4
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 3


def test_a_killed_process_resumes(tmp_path: Path) -> None:
    with JudgeServer(always(Answer(delay=0.02))) as server:
        script = [sys.executable, judge_run.__file__, server.url, str(tmp_path / FILE), "60"]
        path = os.pathsep.join(filter(None, sys.path))
        process = subprocess.Popen(script, env={**os.environ, "PYTHONPATH": path})
        while len(server.asked) < 20 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        time.sleep(0.3)  # until the server has seen what was under way
        paid = (tmp_path / FILE).read_bytes().count(b"\n")
        before = len(server.asked)
        judge = make_judge(judge_run.config(server.url), tmp_path / FILE)
        found = list(judge.ask(judge_run.requests(60), is_grade))
    assert 0 < paid <= before < 60 and before - paid <= 4  # threads
    assert len(server.asked) == before + 60 - paid
    assert len(found) == 60 and all(one.cause is None for one in found)


FAILURES = {
    "HTTP 429": Answer(status=429, headers={"retry-after": "0"}),
    "HTTP 503": Answer(status=503),
    "timeout": Answer(delay=0.3),
    "nonsense": Answer(body=b"<html>busy</html>"),
    "unreadable": Answer(("I cannot say.",)),
}


@pytest.mark.parametrize("cause", FAILURES)
def test_a_failing_judge_is_asked_again_and_then_left(tmp_path: Path, cause: str) -> None:
    def answer(body: dict[str, Any], number: int) -> Answer:
        return FAILURES[cause] if "bad" in body["messages"][-1]["content"] else Answer()

    with JudgeServer(answer) as server:
        found = ask(tmp_path, config(server.url, timeout_s=0.1), rated("bad"), rated("good"))
    assert found["good"].replies == ("5",)
    said = ("I cannot say.",) if cause == "unreadable" else None
    assert found["bad"] == Judgement("bad", said, cause)
    assert len([text for text in server.texts() if "bad" in text]) == 3


def test_a_judge_that_recovers_is_heard(tmp_path: Path) -> None:
    answers = [Answer(status=500), Answer(("hm",)), Answer(("4",))]
    with JudgeServer(lambda body, number: answers[number]) as server:
        assert ask(tmp_path, config(server.url), rated("one"))["one"] == Judgement("one", ("4",))


def test_unreadable_replies_are_not_paid_again(tmp_path: Path) -> None:
    with JudgeServer(always(Answer(("hm",)))) as server:
        ask(tmp_path, config(server.url), rated("one"))
        found = ask(tmp_path, config(server.url), rated("one"))
        assert len(server.asked) == 3 and found["one"].cause == "unreadable"
        ask(tmp_path, config(server.url, retries=3), rated("one"))
    assert len(server.asked) == 4


def test_a_server_that_gives_one_reply_at_a_time_is_asked_for_the_rest(tmp_path: Path) -> None:
    request = Request("a", "voicebench_open", {"prompt": "Hi", "response": "Hello"})
    with JudgeServer(lambda body, number: Answer((str(number + 1),))) as server:
        found = ask(tmp_path, config(server.url), request)
    assert found["a"].replies == ("1", "2", "3") and [body.get("n") for body in server.asked] == [3, 2, None]


def test_a_refused_row_is_not_asked_again(tmp_path: Path) -> None:
    with JudgeServer(always(Answer(status=400))) as server:
        assert ask(tmp_path, config(server.url), rated("one"))["one"].cause == "HTTP 400"
    assert len(server.asked) == 1


def test_a_wrong_key_ends_the_run_at_once(tmp_path: Path) -> None:
    with JudgeServer(always(Answer(status=401))) as server, pytest.raises(InputError, match="the key is refused"):
        ask(tmp_path, config(server.url, threads=1), *[rated(str(i)) for i in range(50)])
    assert len(server.asked) < 5


def test_the_price_cap_holds_over_runs(tmp_path: Path) -> None:
    prices = {"price_per_million_in": 1000.0, "price_per_million_out": 10_000.0, "threads": 1}  # 0.2 a request
    rows = [rated(str(i)) for i in range(6)]
    with JudgeServer(always(Answer())) as server:
        found = ask(tmp_path, config(server.url, price_cap=0.5, **prices), *rows)
        assert sorted(str(one.cause) for one in found.values()) == ["None"] * 3 + ["price cap"] * 3
        ask(tmp_path, config(server.url, price_cap=0.5, **prices), *rows)
        assert len(server.asked) == 3
        found = ask(tmp_path, config(server.url, price_cap=2.0, **prices), *rows)
    assert len(server.asked) == 6 and all(one.cause is None for one in found.values())


def test_a_cap_that_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    prices = {"price_per_million_in": 1.0, "price_per_million_out": 1.0}
    with JudgeServer(always(Answer(tokens=None))) as server, pytest.raises(InputError, match="counts no tokens"):
        ask(tmp_path, config(server.url, price_cap=1.0, **prices), rated("one"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"price_cap": 1.0}, "price_cap needs judge.price_per_million_in"),
        ({"base_url": "localhost:8000"}, "base_url is 'localhost:8000'"),
        ({"model": ""}, "model is missing"),
        ({"threads": 0}, "threads is 0: give 1 or more"),
    ],
)
def test_a_wrong_config_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        config(**{"url": "http://127.0.0.1:9", **changes})


def test_requests_are_under_way_together(tmp_path: Path) -> None:
    with JudgeServer(always(Answer(delay=0.05))) as server:
        ask(tmp_path, config(server.url, threads=3), *[rated(str(i)) for i in range(9)])
    assert server.most_at_once == 3


def test_a_reader_who_stops_ends_the_asking(tmp_path: Path) -> None:
    with JudgeServer(always(Answer(delay=0.02))) as server:
        judge = make_judge(config(server.url, threads=2), tmp_path / FILE)
        for _ in judge.ask([rated(str(i)) for i in range(50)], is_grade):
            break
        time.sleep(0.1)
    assert len(server.asked) <= 6


def test_the_key_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(InputError, match="MY_KEY holds no key"):
        make_judge(config("http://127.0.0.1:9", key_variable="MY_KEY"), tmp_path / FILE)
