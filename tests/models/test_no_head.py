"""A refined head without its transformer (depth 0)."""

import jax
import jax.numpy as jnp
from initial import initial_params
from toy_training import MODEL, make_batch

from fac_jax.generation.decode import generate
from fac_jax.generation.prepared import prepare
from fac_jax.generation.slots import Decoding
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat

NO_HEAD = replace(MODEL, head={"depth": 0})


def test_without_its_transformer_the_head_sees_its_piece_and_the_token_before() -> None:
    batch = make_batch(0, rows=1)
    params = initial_params(NO_HEAD)
    assert [name for name in params["refined_head"]["decoder"]] == ["norm"]
    spoken = jax.jit(FunAudioChat(NO_HEAD).apply)

    def states(batch):
        return spoken({"params": params}, batch).speech_hidden

    before = states(batch)
    changed = batch.speech_labels.copy()
    at, token = 8, 1  # a group of the reply
    changed[0, at, token] = (changed[0, at, token] + 1) % NO_HEAD.units
    moved = jnp.any(states(batch.replace(speech_labels=changed)) != before, axis=-1)[0]
    # Position iG + j predicts label (i + 1)G + j: what comes right after the changed one alone has moved.
    assert [tuple(map(int, one)) for one in jnp.argwhere(moved)] == [(at - 1, token + 1)]


def test_it_decodes() -> None:
    model, params = prepare(NO_HEAD, initial_params(NO_HEAD), None)
    assert [name for name in params["refined_head"]["decoder"]] == ["norm"]
    prompt, keys = make_batch(0, rows=1), jax.random.split(jax.random.key(0), 1)
    reply = generate(model, params, prompt, keys, jnp.int32(3), Decoding("joint", 3))
    assert int(reply.text_count[0]) == 3 and 0 < int(reply.speech_count[0]) <= 2
