"""Calls slot by slot: as training reads them, as `generate` answers, and the same beside others (docs/duplex.md)."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_calls import (
    CONFIG,
    DUPLEX,
    Made,
    Toy,
    begin,
    features_of,
    forward,
    noise,
    prompt_side,
    row_at,
    row_of,
    run_alone,
    seen_tick,
    toy,
)
from toy_training import MODEL, SPECIAL

from fac_jax.duplex.call import SLOT
from fac_jax.generation.decode import generate
from fac_jax.generation.duplex.programs import extend, leave, past, roll_over
from fac_jax.generation.duplex.side import empty_side
from fac_jax.generation.duplex.state import Mode, Options, call_config, empty_calls, options, replayed
from fac_jax.generation.duplex.tick import speech_scores, text_scores
from fac_jax.generation.sampling import GREEDY, Sampling, fold, pick
from fac_jax.generation.slots import Decoding
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Batch, InputError

DRAWN = Sampling(temperature=1.0)
PROMPT = (7, 9, 11, 8)  # text ids of a prompt
SLOTS = 30  # the ring of the Shared LLM wraps three times, that of the refined head six times


@pytest.fixture(scope="module", autouse=True)
def exact() -> Iterator[None]:
    with jax.default_matmul_precision("highest"):
        yield


@pytest.fixture(scope="module")
def ready() -> Toy:
    return toy()


def given(seed: int, text: Sampling = DRAWN, speech: Sampling = DRAWN) -> Options:
    assert CONFIG.duplex is not None
    return options(jax.random.key(seed)[None], CONFIG.duplex, text, speech)


@pytest.fixture(scope="module")
def alone(ready: Toy) -> list[Made]:
    """Calls of three seeds, each alone in one of three places."""
    return [run_alone(ready, PROMPT, noise(seed, SLOTS), given(seed), 3, seed)[0] for seed in range(3)]


def test_a_call_is_as_training_reads_it(ready: Toy, alone: list[Made], figures) -> None:
    """Before and after the rings wrap: the same states, and from them the same ids."""
    c, trained = ready.config, FunAudioChat(ready.config)
    seen = set()
    for seed, made in enumerate(alone):
        features = features_of(trained, ready.trained, noise(seed, SLOTS))
        output = forward(trained, ready.trained, row_of(made, PROMPT, features, c))
        hidden, spoken = output.hidden, output.speech_hidden
        figures(f"duplex step loop, state {seed}", np.abs(hidden[0, len(PROMPT) :] - made.hidden).max(), 2e-4)
        made_by = jax.tree.map(lambda leaf: jnp.repeat(leaf, SLOTS + 1, axis=0), given(seed))
        # The prompt's last position picks as an idle slot does.
        before = jnp.concatenate([jnp.array([Mode.IDLE]), jnp.asarray(made.modes[:-1])])
        logits: Any = trained.apply({"params": ready.trained}, hidden[0, len(PROMPT) - 1 :], method="text_logits")
        scores = text_scores(logits, before, made_by, c)
        slots = jnp.arange(SLOTS + 1)
        picked = pick(scores, jnp.zeros_like(scores, bool), fold(made_by.keys, 2 * slots), made_by.text)
        ended = made.modes == Mode.CLOSING  # by either stream
        assert np.array_equal(np.asarray(picked)[~ended], made.text_ids[~ended])
        logits = trained.apply({"params": ready.trained}, spoken[0, len(PROMPT) - 1 :], method="speech_logits")
        talking = made.modes == Mode.TALKING
        for j in range(c.group_size):
            keys = fold(fold(made_by.keys, 2 * slots + 1), j)
            scores = speech_scores(logits[:, j], made_by, c)
            picked = pick(scores, jnp.zeros(scores.shape, bool), keys, made_by.speech)
            assert np.array_equal(np.asarray(picked)[talking], made.groups[talking, j])
        seen |= set(made.modes.tolist())
    assert seen == {Mode.IDLE, Mode.OPENING, Mode.TALKING, Mode.CLOSING}


def test_a_turn_ends_by_speech_as_eagerly_as_by_text() -> None:
    """Learnt at twice its odds, the id that ends speech gets its own odds back, and the call's eagerness."""
    duplex = dataclasses.replace(DUPLEX, edge_weight=2.0, stop_bias=1.5)
    given, logits = options(jax.random.split(jax.random.key(0), 2), duplex), jnp.zeros((2, 3, CONFIG.codebook_size))
    found = speech_scores(logits, given, replace(CONFIG, duplex=duplex))
    wanted = np.zeros(logits.shape)
    wanted[..., SPECIAL.speech_eos] = 1.5 - np.log(2)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    free = replace(CONFIG, duplex=dataclasses.replace(duplex, masks=False))
    assert np.array_equal(speech_scores(logits, given, free), logits)


def test_a_forced_turn_is_what_generate_makes() -> None:
    """A model that does not hear while it talks, without masks: the turn's ids are those of a half-duplex reply."""
    assert CONFIG.duplex is not None
    wide = dataclasses.replace(CONFIG.duplex, window=64, head_window=64, masks=False)
    quiet = toy(replace(CONFIG, duplex=wide), deaf=True)
    prompt = Batch.padding((1, len(PROMPT)), (0, 40, 16), group_size=5, pad=0, speech_pad=SPECIAL.speech_pad)
    prompt.text_ids[:] = PROMPT
    prompt.segment_ids[:] = 1
    prompt.positions[:] = np.arange(len(PROMPT))
    closed = 0
    for seed, sampling in enumerate((GREEDY, DRAWN, DRAWN)):
        decoding = Decoding("joint", SLOTS, sampling, sampling)
        reply = generate(quiet.model, quiet.params, prompt, jax.random.key(seed)[None], SLOTS, decoding)
        assert reply.speech_ids is not None and reply.speech_count is not None
        chosen = given(seed, sampling, sampling)
        made, _ = run_alone(quiet, PROMPT, noise(seed, SLOTS), chosen, greets=True)
        ends = np.flatnonzero(made.modes == Mode.CLOSING)
        stop = int(ends[0]) if len(ends) else int(reply.text_count[0]) - 1
        closed += bool(len(ends))
        assert made.text_ids[: stop + 1].tolist() == reply.text_ids[0, : stop + 1].tolist()
        assert made.groups[1 : stop + 1].tolist() == reply.speech_ids[0, :stop].tolist()
    assert closed


def test_a_call_does_not_depend_on_others(ready: Toy, alone: list[Made]) -> None:
    """Others join, pause and leave beside it; it makes what it makes alone."""
    rng = np.random.default_rng(0)
    state, slot = begin(ready, empty_calls(ready.model, 3), 1, PROMPT, given(1))
    user, made, hidden, there = noise(1, SLOTS), [slot], [], {1}
    for block in user.reshape(SLOTS, -1):
        for place in (0, 2):
            if place not in there and rng.random() < 0.4:
                there.add(place)
                state, _ = begin(ready, state, place, PROMPT[: 2 + place], given(10 + place))
            elif place in there and rng.random() < 0.2:
                there.discard(place)
                state = leave(state, place)
        samples = rng.standard_normal((3, len(block))).astype(np.float32)
        samples[1] = block
        active = np.array([place in there and (place == 1 or rng.random() < 0.8) for place in range(3)])
        state, slot, states = seen_tick(ready.model, ready.params, state, samples, active, True)
        made.append(row_at(slot, 1))
        hidden.append(np.asarray(states[1]))
    found = Made.of(made, hidden)
    assert found.text_ids.tolist() == alone[1].text_ids.tolist()
    assert found.groups.tolist() == alone[1].groups.tolist()
    np.testing.assert_allclose(found.hidden, alone[1].hidden, atol=2e-5)


def test_a_place_keeps_nothing_of_the_call_before(ready: Toy, alone: list[Made]) -> None:
    """A call in a place that another has left, and one that was paused, make what they make from the start."""
    before, state = run_alone(ready, PROMPT[:2], noise(5, 7), given(5), 3, 0)
    state, slot = begin(ready, leave(state, 0), 0, PROMPT, given(0))
    assert before.modes[-1] != Mode.FREE
    made, silence = [slot], np.zeros((3, SLOT), np.float32)
    for number, block in enumerate(noise(0, SLOTS).reshape(SLOTS, -1)):
        if number == 2:  # while all that it has said is still in the rings
            for _ in range(2):
                state, _, _ = seen_tick(ready.model, ready.params, state, silence, np.zeros(3, bool), True)
        samples = silence.copy()
        samples[0] = block
        state, slot, _ = seen_tick(ready.model, ready.params, state, samples, np.arange(3) == 0, True)
        made.append(row_at(slot, 0))
        if number == 3:
            break
    found = Made.of(made, [np.zeros(1)])
    assert found.text_ids.tolist() == alone[0].text_ids[:5].tolist()
    assert found.groups.tolist() == alone[0].groups[:5].tolist()


def test_a_rolled_over_call_reads_its_new_prompt_and_its_last_slots(ready: Toy, figures) -> None:
    c, at, seed = ready.config, 17, 2
    assert c.duplex is not None
    kept, new, user = replayed(c.duplex), (9, 9, 12, 7, 30, 8), noise(seed, SLOTS)
    begun, state = run_alone(ready, PROMPT, user[: at * SLOT], given(seed), 3, 1)
    side = prompt_side(ready, new)
    for first in (at - kept, at - 1):  # in two chunks
        count = kept - 1 if first < at - 1 else 1
        side = extend(ready.model, ready.params, side, past(state, 1, first, count))
    state = roll_over(ready.model, state, side, 1)
    made, hidden = [], []
    for block in user[at * SLOT :].reshape(-1, SLOT):
        samples = np.zeros((3, SLOT), np.float32)
        samples[1] = block
        state, slot, states = seen_tick(ready.model, ready.params, state, samples, np.arange(3) == 1, True)
        made.append(row_at(slot, 1))
        hidden.append(np.asarray(states[1]))
    went_on = Made.of(made, hidden)
    joined = Made(
        *(
            np.concatenate([getattr(begun, name)[at - kept :], getattr(went_on, name)])
            for name in ("text_ids", "groups", "modes", "cuts")
        ),
        hidden=went_on.hidden,
    )
    trained = FunAudioChat(c)
    features = features_of(trained, ready.trained, user)[at - kept :]
    output = forward(trained, ready.trained, row_of(joined, new, features, c))
    found = output.hidden[0, len(new) + kept :]
    figures("duplex after a roll-over, state", np.abs(found - went_on.hidden).max(), 2e-4)


def test_what_takes_no_call_is_refused(ready: Toy) -> None:
    with pytest.raises(InputError, match="sinks for 1 to 10"):
        empty_side(ready.model, 11)
    with pytest.raises(InputError, match="give a duplex checkpoint"):
        call_config(MODEL)
    with pytest.raises(InputError, match="hears waveforms"):
        call_config(replace(CONFIG, user_audio="tokens"))
