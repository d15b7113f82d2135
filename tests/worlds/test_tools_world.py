"""Spoken function calls: what is held out, and what the benchmark's own checker says about replies."""

import json

import numpy as np
import pytest

from data_pipelines.worlds.benchmark_world import BenchmarkWorld, held_out_rows, tool_rows, train_rows
from data_pipelines.worlds.tools import TOOLS, Tool, requests, split_arguments, wrong_reply
from fac_jax.evaluation.benchmarks.speechfc.scorer import score
from fac_jax.text.chat import with_tools
from fac_jax.text.prompts import SYSTEM_TEXT

SMALL = BenchmarkWorld()
SPOKEN = [tool for tool in TOOLS if tool.spoken]


@pytest.mark.parametrize("tool", SPOKEN, ids=lambda tool: tool.name)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_held_out_combinations_are_of_values_that_training_knows(tool: Tool, seed: int) -> None:
    train, held = split_arguments(tool, seed)
    assert held and len(train) + len(held) == len(tool.combinations())
    assert not any(one in train for one in held)
    for one in held:
        assert all(sum(other[key] == one[key] for other in train) >= 5 for key in one)


def test_training_never_asks_for_what_is_held_out() -> None:
    train, held = train_rows(SMALL), held_out_rows(SMALL)
    called = {row.heard for name in ("tools", "brief_tools") for row in train[name]}
    written = {row.heard for name in ("written_tools", "practice") for row in train[name]}
    values, tools = ({row.heard for row in held[name]} for name in ("tools", "new_tools"))
    assert not values & (called | written | {row.heard for row in train["transcripts"]})
    assert not tools & called and tools & written
    assert len(values) > 50 and len(tools) > 30


def test_two_or_three_tools_are_offered_the_right_one_anywhere() -> None:
    found = list(requests(0, TOOLS, False, 200, 0))
    assert {len(one.offered) for one in found} == {2, 3}
    assert {one.offered.index(one.tool) for one in found} == {0, 1, 2}
    assert all(len(set(tool.name for tool in one.offered)) == len(one.offered) for one in found)


def test_the_official_checker_takes_the_right_call_and_no_other() -> None:
    rng = np.random.default_rng(0)
    for one in requests(3, TOOLS, False, 120, 0):
        row = {"function": json.dumps(one.functions), "ground_truth": json.dumps(one.ground_truth)}
        assert score(row, one.reply, "bfcl", "multiple").valid
        assert not score(row, wrong_reply(one, rng), "bfcl", "multiple").valid
        assert not score(row, "sure", "bfcl", "multiple").valid


def test_a_row_shows_its_tools_in_the_system_prompt() -> None:
    for row in tool_rows(SMALL, SPOKEN, 9, 0, held_out=True):
        assert row.system == with_tools(SYSTEM_TEXT, json.loads(row.fields["function"]))
        assert row.voice is not None and row.voice.name in SMALL.world.test_voices
