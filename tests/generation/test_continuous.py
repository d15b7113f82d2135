"""Continuous batching: every prompt gets the answer that it gets alone, on one device and on a mesh."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import pytest
from initial import initial_params
from mesh_run import layout as make_mesh

from fac_jax.batching.grid import Example, encode
from fac_jax.batching.question import single_turn
from fac_jax.generation.continuous import Answer, answers
from fac_jax.generation.prepared import prepare
from fac_jax.generation.respond import ExamplePrompts
from fac_jax.generation.slots import Decoding, Request
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.mesh import Layout
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import Batch, Params

MOST = 8
LIMITS = (3, 8, 1, 5, 2, 8, 4, 7, 1, 6, 2, 3, 8, 5, 4, 2, 1, 7, 3)
DECODING = Decoding("joint", MOST)


class Limited(ExamplePrompts):
    """Prompts with a limit each."""

    def batch(self, chosen: Sequence[int | None]) -> tuple[Batch, Request]:
        batch, request = super().batch(chosen)
        limits = np.array([0 if number is None else LIMITS[number] for number in chosen], np.int32)
        return batch, dataclasses.replace(request, limit=jax.numpy.asarray(limits))


@pytest.fixture(scope="module")
def examples(tokenizer: Tokenizer, model: ModelConfig) -> list[Example]:
    """Texts of different lengths."""
    texts = [" ".join(["two plus three"] * (1 + number % 4)) + f" {number}" for number in range(len(LIMITS))]
    turns = [single_turn(str(number), text, 16_000, "t2s", "", None) for number, text in enumerate(texts)]
    return [encode(turn, tokenizer, model, add_generation_prompt=True) for turn in turns]


def found(
    config: ModelConfig, params: Params, examples: Sequence[Example], rows: int, on: Layout | None
) -> dict[int, Answer]:
    module, prepared = prepare(config, params, on)
    keys = jax.random.split(jax.random.key(0), len(examples))
    prompts = Limited(config, examples, DECODING, keys, on)
    with jax.default_matmul_precision("highest"):
        made = list(answers(module, prepared, prompts, DECODING, rows, on))
    assert sorted(answer.number for answer in made) == list(range(len(examples)))
    return {answer.number: answer for answer in made}


def same(ours: dict[int, Answer], theirs: dict[int, Answer]) -> None:
    for number, answer in theirs.items():
        mine = ours[number].reply
        assert mine.text_ids.tolist() == answer.reply.text_ids.tolist()
        assert mine.groups.tolist() == answer.reply.groups.tolist()


def test_answers_are_those_of_prompts_alone(examples: list[Example], model: ModelConfig) -> None:
    params = initial_params(model)
    alone = found(model, params, examples, 1, None)
    assert {number: len(answer.reply.text_ids) for number, answer in alone.items()} == dict(enumerate(LIMITS))
    beside = found(model, params, examples, 4, None)
    assert list(beside) != sorted(beside)  # short answers pass long ones
    same(beside, alone)


@pytest.mark.slow
def test_a_mesh_answers_alike_and_compiles_nothing_again(examples: list[Example], model: ModelConfig) -> None:
    heads = {"num_heads": 2, "num_kv_heads": 2}
    text, head = (dataclasses.replace(part, **heads) for part in (model.text, model.head))
    model = dataclasses.replace(model, text=text, head=head)
    params, on = initial_params(model), make_mesh("2x2x2")
    compiled: list[str] = []

    def note(event: str, _: float, **about: Any) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(str(about.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(note)
    mesh = found(model, params, examples, 8, on)
    programs = {"jit(prefill)": 2, "jit(insert)": 1, "jit(advance)": 1}  # the first prompts, and those that follow
    assert {name: compiled.count(name) for name in programs} == programs
    same(mesh, found(model, params, examples, 8, None))
    compiled.clear()
    same(found(model, params, examples, 8, on), mesh)
    assert not set(programs) & set(compiled)
