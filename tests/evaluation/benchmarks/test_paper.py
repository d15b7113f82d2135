"""Printed figures of the paper and overall values."""

import pytest

from fac_jax.evaluation.benchmarks import paper

OPEN = {"alpaca_eval": 88.94, "llama_questions": 83.33, "reasoning_qa": 69.8, "trivia_qa": 68.1, "web_questions": 72.9}


def test_overall_values_follow_from_subsets() -> None:
    assert round(paper.overall("openaudiobench", OPEN), 2) == 76.61
    voice = dict.fromkeys(("sd-qa", "mmsu", "openbookqa", "ifeval", "advbench"), 100.0)
    assert paper.overall("voicebench", voice | {"alpacaeval_full": 5.0, "commoneval": 5.0}) == pytest.approx(100)


def test_an_overall_value_needs_exactly_its_subsets() -> None:
    with pytest.raises(ValueError, match="absent or unknown subsets web_questions"):
        paper.overall("openaudiobench", {name: value for name, value in OPEN.items() if name != "web_questions"})
    with pytest.raises(ValueError, match="no overall value of subsets"):
        paper.overall("mmau", {})


def test_what_a_report_prints_beside_a_subset_and_an_overall_value() -> None:
    beside = paper.peers("voicebench/ifeval")
    assert beside.small == ("Fun-Audio-Chat-8B", 78.52, 2) and beside.large == ("Fun-Audio-Chat-30B-A3B", 77.25, 1)
    assert [(peer.model, peer.value) for peer in beside.peers] == [("Kimi-Audio", 61.1), ("GPT-Audio", 79.12)]
    assert paper.peers("voicebench").peers[1].value == 90.06
    turns = paper.peers("ultraeval-duplex/turn-taking")
    assert turns.small is not None and turns.small.model == "Fun-Audio-Chat-Duplex-8B"


@pytest.mark.parametrize(
    ("name", "small"),
    [("openaudiobench/reasoning_qa", 69.8), ("voicebench/alpacaeval_full", 4.8), ("ultraeval/speech-triavia-qa", 49.51),
     ("ultraeval/speech-chatbot-alpaca-eval", 61.87), ("mmau/test-mini", 76.6), ("mmau-pro/test", 58.0),
     ("mmsu/test", 67.8), ("asr/common-voice-zh", 6.16), ("speechfc/ace-single", 66.3), ("vstyle/en", 3.35),
     ("vstyle/zh/empathy/anger", 3.73), ("speech-quality/utmos", 4.37), ("speech-instructions/instruction", 3.98)],
)  # fmt: skip
def test_every_benchmark_of_the_project_is_found_by_its_name(name: str, small: float) -> None:
    found = paper.peers(name).small
    assert found is not None and found.value == small


def test_what_the_paper_does_not_print_is_empty() -> None:
    assert paper.peers("bigbench-audio/test") == (None, None, ())
    assert paper.peers("speech-quality/utmos").large is None
