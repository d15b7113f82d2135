import pytest

from fac_jax.evaluation.benchmarks.base import RowRefusedError
from fac_jax.evaluation.benchmarks.mmau_pro_instruction import follows


@pytest.mark.parametrize(
    ("task", "kwargs", "reply", "expected"),
    [
        ("Number Words (at least)", {"N": 3}, "one two", False),
        ("Number Words (at most)", {"N": 2.0}, "one two", True),
        ("Number Words (range)", {"N1": 2}, "one two", True),  # up to 999
        ("All-capital Words (range)", {"N1": 1, "N2": 1}, "NASA and USA", False),
        ("Number Sentences (at most)", {"N": 1}, "Dr. Smith left. He slept.", False),
        ("Include Keywords", {"keywords": "Rain, sound"}, "the SOUND of rain", True),
        ("Include Keywords", {"keywords": "rain,sound"}, "the sound of rain", False),  # no blank: one keyword
        ("Forbidden Words", None, "anything", False),  # "" is in every reply
        ("Keyword Frequency", {"keyword": "a.b", "N": 1}, "a.b aXb A.Bc", True),
        ("Number Bullets", {"N": 2}, "* a\n  * b\n*c", True),
        ("Multiple Sections", {"N": 2, "section_splitter": "."}, "a. b.", True),
        ("Postscript", {"postscript_marker": "P.S."}, "so: p s see you", True),
        ("End Checker", {"end_phrase": "The end"}, "... the end.", True),
        ("Two Responses", {}, "a ****** A", False),
        ("Quotation", {}, '"', True),
        ("No such task", {}, "x", False),
        (None, {}, "x", False),
    ],
)
def test_rules(task, kwargs, reply, expected):
    assert follows(task, kwargs, "", reply) is expected


def test_repeated_prompt_is_the_question():
    assert follows("Repeat Prompt", {}, " What is it? ", "what is it? Rain.")
    assert not follows("Repeat Prompt", {}, "What is it?", "Rain.")


def test_null_that_the_rule_needs():
    with pytest.raises(RowRefusedError, match="keywords is null"):
        follows("Include Keywords", {"keywords": None}, "", "x")
    assert follows("Include Keywords", {"keywords": None}, "", "x", "strict")  # as if absent
    assert follows("No Commas", {"N": None}, "", "x")  # the rule does not read it


def test_null_count_is_equal_to_none_only_officially():
    assert not follows("Number Bullets", {"N": None}, "", "x")
    assert follows("Number Bullets", {"N": None}, "", "x", "strict")
