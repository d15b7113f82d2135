"""MMAU: words of the answer and of the other choices."""

from fac_jax.evaluation.benchmarks import mmau

ROW = {
    "question": "What is heard?",
    "choices": ["Dog barking", "A car horn", "Loud rain"],
    "answer": "Dog barking",
    "task": "sound",
    "difficulty": "easy",
}


def test_the_judge_sees_the_choices_on_one_line() -> None:
    assert mmau.judge_question(ROW) == "What is heard?\n(A) Dog barking (B) A car horn (C) Loud rain"


def test_a_letter_alone_is_wrong_and_a_word_of_another_choice_spoils() -> None:
    def right(reply: str) -> bool:
        return mmau.string_match(ROW["answer"], ROW["choices"], reply)

    assert right("I hear a dog, barking.".replace(" a ", " the ")) and right("BARKING dog")
    assert not right("(A)"), "the letter alone"
    assert not right("(A) Dog barking"), "the word a is of the second choice"
    assert not right("Dog") and not right("Dog barking in the rain") and not right(" ?! ")


def test_words_that_the_answer_shares_with_another_choice_do_not_spoil() -> None:
    assert mmau.string_match("speaker one", ["speaker one", "speaker two", "One speaker"], "speaker one")


def test_a_row_without_a_reply_is_left_out_officially_and_wrong_strictly() -> None:
    assert mmau.score(ROW, None).cause == "no reply"
    assert mmau.score(ROW, None, "strict").points == 0
    assert mmau.score(ROW, "dog barking", "strict").points == 100


def test_accuracies_count_scored_rows_of_every_grouping() -> None:
    rows = [ROW, ROW | {"task": "music", "sub-category": "Rhythm"}, ROW | {"difficulty": "hard"}]
    found = mmau.accuracies(rows, [mmau.score(ROW, reply) for reply in ("dog barking", "rain", None)])
    assert found["total"]["total"] == (50.0, 2)
    assert found["task"] == {"sound": (100.0, 1), "music": (0.0, 1)}
    assert found["difficulty"] == {"easy": (50.0, 2)} and found["sub-category"] == {"Rhythm": (0.0, 1)}
