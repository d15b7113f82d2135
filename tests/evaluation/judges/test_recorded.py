"""Judges that ask nobody: recorded replies, and the stand-in."""

import json
from pathlib import Path
from typing import Any

import pytest

from fac_jax.evaluation.judges.base import NO_SCALE, Decoding, Judgement, Request
from fac_jax.evaluation.judges.config import JudgeConfig
from fac_jax.evaluation.judges.make import make_judge
from fac_jax.evaluation.judges.stand_in import contains
from fac_jax.evaluation.judges.templates import TEMPLATES, Prompts
from fac_jax.types import InputError

SD_QA = Request("row 7", "evalkit_sd_qa", {"question": "q", "answer": "Rome", "prediction": "It is Rome."})


def line(request: Request, replies: list[str], **changes: Any) -> dict[str, Any]:
    return {
        "template": request.template,
        "prompt_sha256": Prompts()[request.template].sha256,
        "request_sha256": request.sha256(TEMPLATES[request.template].decoding),
        "model": "m",
        "base_url_host": "h",
        "replies": replies,
        "time": "2026-01-01T00:00:00+00:00",
        **changes,
    }


def recorded(tmp_path: Path, *rows: dict[str, Any], **changes: Any) -> Any:
    (tmp_path / "judgements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return make_judge(JudgeConfig(kind="recorded", **changes), tmp_path / "judgements.jsonl")


def is_yes_or_no(replies: tuple[str, ...]) -> bool:
    return replies[0] in ("yes", "no")


def test_recorded_replies_are_found_by_what_was_asked(tmp_path: Path) -> None:
    judge = recorded(tmp_path, line(SD_QA, ["perhaps"]), line(SD_QA, ["yes"]))
    assert list(judge.ask([SD_QA], is_yes_or_no)) == [Judgement("row 7", ("yes",))]
    assert judge.identity("evalkit_sd_qa").describe() == "m at h, recorded, own wording"


def test_replies_that_cannot_be_read_are_given_with_the_cause(tmp_path: Path) -> None:
    judge = recorded(tmp_path, line(SD_QA, ["perhaps"]))
    assert list(judge.ask([SD_QA], is_yes_or_no)) == [Judgement("row 7", ("perhaps",), "unreadable")]


def test_a_missing_judgement_names_the_row(tmp_path: Path) -> None:
    judge = recorded(tmp_path, line(SD_QA, ["yes"]))
    other = Request("row 8", "evalkit_sd_qa", {**SD_QA.fields, "prediction": "In Rome."})
    with pytest.raises(InputError, match="no judgement of row row 8"):
        list(judge.ask([other], is_yes_or_no))
    with pytest.raises(InputError, match="no judgement of template evalkit_open"):
        judge.identity("evalkit_open")


def test_of_two_judges_one_must_be_named(tmp_path: Path) -> None:
    rows = line(SD_QA, ["yes"]), line(SD_QA, ["no"], model="other")
    with pytest.raises(InputError, match="judge.model"):
        recorded(tmp_path, *rows)
    assert list(recorded(tmp_path, *rows, model="other").ask([SD_QA], is_yes_or_no))[0].replies == ("no",)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: no judgement: replies is missing"):
        recorded(tmp_path, line(SD_QA, ["yes"]), {**line(SD_QA, []), "replies": None})


def test_the_stand_in_answers_in_the_form_of_the_template(tmp_path: Path) -> None:
    fields = {"question": "q", "prediction": "The capital is ROME!"}
    judge = make_judge(JudgeConfig(kind="stand_in"), tmp_path / "none.jsonl")
    wanted = {
        "evalkit_sd_qa": ("Rome", "yes"),
        "evalkit_single_choice": ("Paris", "Result: no"),
        "openaudiobench_llama_questions": ("Rome", "the score is [Correct]"),
        "openaudiobench_trivia_qa": ("['Roma', 'Rome']", '{"analysis": "stand-in", "judgment": "correct"}'),
    }
    requests = [Request(name, name, {**fields, "answer": answer}) for name, (answer, _) in wanted.items()]
    found = {one.id: one.replies for one in judge.ask(requests, lambda replies: True)}
    assert found == {name: (reply,) for name, (_, reply) in wanted.items()}
    graded = list(judge.ask([Request("a", "openaudiobench_alpaca_eval", fields)], lambda replies: True))
    assert graded == [Judgement("a", None, NO_SCALE)]
    assert judge.identity("evalkit_sd_qa").stand_in and not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize(
    ("reply", "reference", "right"),
    [
        ("Romeo", "Rome", False),  # whole words
        ("这是北京。", "北京", True),
        ("A dog barks, so (B).", "B", False),  # the first letter that stands alone
        ("It is B.", "B", True),
        ("anything", "", False),
        ("[1] it is", "[1] it", True),  # no printed list
    ],
)
def test_containment(reply: str, reference: str, right: bool) -> None:
    assert contains(reply, reference) is right


def test_what_is_hashed_is_what_is_asked() -> None:
    same = Request("another row", SD_QA.template, dict(sorted(SD_QA.fields.items(), reverse=True)))
    heard = Request("row 7", SD_QA.template, SD_QA.fields, audio=(b"wave",))
    assert same.sha256(Decoding()) == SD_QA.sha256(Decoding())
    assert len({SD_QA.sha256(Decoding()), SD_QA.sha256(Decoding(0.5)), heard.sha256(Decoding())}) == 3
