import pytest

from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.ifeval.instructions import INSTRUCTIONS, prepare
from fac_jax.evaluation.benchmarks.ifeval.score import Followed, accuracies, follow, shared_replies

COMMA = "punctuation:no_comma"
NTH = "length_constraints:nth_paragraph_first_word"


def one(id, kwargs, reply, rules="evalkit"):
    found = follow([id], [kwargs], reply, rules)
    return found.strict[0], found.loose[0]


@pytest.mark.parametrize("id", INSTRUCTIONS)
def test_every_instruction_refuses_what_it_does_not_take(id):
    with pytest.raises(RowRefusedError, match="takes no color"):
        prepare(id, {"color": "red"}, "evalkit")


@pytest.mark.parametrize(("id", "instruction"), INSTRUCTIONS.items())
def test_every_instruction_refuses_absent_kwargs(id, instruction):
    if instruction.kwargs:
        with pytest.raises(RowRefusedError, match="draws one"):
            prepare(id, dict.fromkeys(instruction.kwargs, 0), "evalkit")


@pytest.mark.parametrize(
    ("id", "kwargs"),
    [
        ("no:such", {}),
        ("language:response_language", {"language": "zh-cn"}),
        ("keywords:letter_frequency", {"letter": "ab", "let_frequency": 2, "let_relation": "at least"}),
        ("length_constraints:number_words", {"num_words": 3, "relation": "more than"}),
        ("detectable_format:number_bullet_lists", {"num_bullets": -1}),
    ],
)
def test_rows_at_which_the_official_code_stops_or_draws(id, kwargs):
    with pytest.raises(RowRefusedError):
        one(id, kwargs, "")
    found = follow([COMMA, id], [{}, kwargs], "no", "strict")
    assert (found.strict, found.loose) == ((False, False), (False, False))
    assert found.refused and id in found.refused


def test_only_strict_counts_a_sign_in_place_of_a_letter():
    id, kwargs = "keywords:letter_frequency", {"letter": "#", "let_frequency": 2, "let_relation": "at least"}
    assert one(id, kwargs, "#a #b", "strict") == (True, True)
    assert one(id, kwargs, "#a", "strict") == (False, False)
    for rules in ("official", "evalkit"):
        with pytest.raises(RowRefusedError, match="draws another"):
            one(id, kwargs, "#a #b", rules)


def test_keyword_that_is_no_regular_expression_is_refused_when_it_is_looked_for():
    kwargs = {"keywords": ["c(", "apple"]}
    assert one("keywords:existence", kwargs, "pear") == (False, False)  # "apple" is looked for first
    with pytest.raises(RowRefusedError, match="regular expression"):
        one("keywords:existence", kwargs, "apple")


def test_null_kwargs_of_other_instructions_are_dropped():
    assert one(COMMA, {"num_words": None, "keywords": [], "relation": ""}, "fine") == (True, True)


def test_blank_reply_follows_nothing():
    assert one(COMMA, {}, " \n") == (False, False)


def test_loose_drops_lines_and_asterisks():
    quoted = "startend:quotation"
    assert one(quoted, {}, 'Sure:\n"yes"') == (False, True)
    assert one(quoted, {}, '"yes"\nBye') == (False, True)
    assert one(quoted, {}, 'Sure:\n**"yes"**\nBye') == (False, True)
    assert one(quoted, {}, 'Sure:\nHere:\n"yes"') == (False, False)  # two lines before it


def test_only_official_removes_tags():
    reply = '<1> "yes"<|user|>'
    assert one("startend:quotation", {}, reply, "official") == (True, True)
    assert one("startend:quotation", {}, reply, "evalkit") == (False, False)
    assert one("startend:quotation", {}, reply, "strict") == (False, False)


def test_paragraph_that_the_official_code_draws():
    kwargs = {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "hello"}
    assert one(NTH, kwargs, "Good\n\nbye") == (False, False)  # whichever is drawn
    with pytest.raises(RowRefusedError, match="draws another"):
        one(NTH, kwargs, "Good\n\nhello")


@pytest.mark.parametrize(
    ("paragraphs", "expected"),
    [("x\n\n'Hello!", True), ("x\n\nhello.there\n\n  ", True), ("\n\nx\n\nhello", False), ("x\n\nhello\n\ny", False)],
)
def test_first_word_of_a_paragraph(paragraphs, expected):
    kwargs = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "HELLO"}
    assert one(NTH, kwargs, paragraphs)[0] is expected


@pytest.mark.parametrize(
    ("reply", "expected"), [("A***B", True), ("***A***B***", True), ("A*** ***B", False), ("A***B***C", False)]
)
def test_paragraphs_between_asterisks(reply, expected):
    assert one("length_constraints:number_paragraphs", {"num_paragraphs": 2}, reply)[0] is expected


def test_relation_less_than_excludes_the_bound():
    kwargs = {"num_words": 2, "relation": "less than"}
    assert not one("length_constraints:number_words", kwargs, "two words")[0]
    assert one("length_constraints:number_words", {**kwargs, "relation": "at least"}, "two words")[0]


def test_english_in_capitals():
    assert one("change_case:english_capital", {}, "123 !") == (False, False)  # no letter
    shouted = "THE TALL TREE STOOD NEAR THE RIVER AND EVERYONE IN THE VILLAGE LIKED TO SIT UNDER IT"
    assert one("change_case:english_capital", {}, shouted) == (True, True)


def test_rows_with_equal_prompts_share_the_last_reply():
    assert shared_replies(["a", "b", "a"], ["1", "2", "3"]) == ["3", "2", "3"]


def test_accuracies_of_prompts_and_instructions():
    rows = [Followed((True, True, True), (True, True, True)), Followed((False,), (True,))]
    found = accuracies(rows)
    assert found["strict-prompt"] == 1 / 2 and found["strict-instruction"] == 3 / 4
    assert found["loose-prompt"] == found["loose-instruction"] == 1
    assert found["final"] == (1 / 2 + 3 / 4 + 1 + 1) / 4
