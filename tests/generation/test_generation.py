"""Joint generation against the recorded runs of the release, and its algebra."""

import dataclasses
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_model import golden

from fac_jax.checkpoint.release.batch import release_batch
from fac_jax.evaluation.parity.model import under
from fac_jax.generation.decode import generate
from fac_jax.generation.engine import advance, prefill
from fac_jax.generation.prepared import prepare
from fac_jax.generation.sampling import GREEDY, Sampling, keep_likeliest, mark, pick
from fac_jax.generation.slots import Decoding, requests
from fac_jax.layers.attention import APART, MERGED, CacheDims
from fac_jax.types import Batch, InputError

PENALTY = Sampling(repetition_penalty=1.2)
# Penalties are arrays, so that the three spoken runs of a case share one compilation.
RUNS = {
    "s2t": Decoding("text", 24),
    "s2s": Decoding("joint", 24),
    "s2s_default": Decoding("joint", 24, speech=PENALTY),
    "s2s_rep": Decoding("joint", 24, text=PENALTY, speech=PENALTY),
}


def _keys(rows: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), rows)


def _answer(case: str, run: str, limit: int = 24):
    g = golden(case)
    model, params = prepare(g.config, g.params)
    prompt = release_batch(under(g.arrays, f"{run}/in/"), g.config)
    with jax.default_matmul_precision("highest"):
        return g, generate(model, params, prompt, _keys(1), jnp.int32(limit), RUNS[run])


def _pad(batch: Batch, left: int, right: int, special) -> Batch:
    def pad(a, fill):
        return np.pad(np.asarray(a), ((0, 0), (left, right), *([(0, 0)] * (a.ndim - 2))), constant_values=fill)

    fills = {"text_ids": special.pad, "speech_ids": special.speech_pad, "frame_index": -1}
    fills |= {"labels": -100, "speech_labels": -100}
    others = ("mel", "parts", "features")
    names = [f.name for f in dataclasses.fields(batch) if not f.name.startswith(others)]
    grid = [name for name in names if getattr(batch, name) is not None]
    return batch.replace(**{name: pad(getattr(batch, name), fills.get(name, 0)) for name in grid})


@pytest.mark.parametrize("prefill", ["release", pytest.param("as_trained", marks=pytest.mark.slow)])
def test_a_padded_batch_equals_its_samples_alone(prefill):
    g = golden("dense")
    config = dataclasses.replace(g.config, head_prefill=prefill)
    model, params = prepare(config, g.params)
    spoken = release_batch(under(g.arrays, "s2s/in/"), config)
    text = g.arrays["text/input_ids"][:1, :11]
    written = release_batch({"input_ids": text, "attention_mask": np.ones_like(text)}, config)
    written = written.replace(mel_windows=spoken.mel_windows, mel_lengths=spoken.mel_lengths)
    length = spoken.text_ids.shape[1]
    decoding = Decoding("joint", 12)
    padded = [_pad(spoken, 0, 0, config.special), _pad(written, length - 11, 0, config.special)]
    padded.append(_pad(written, 2, length - 13, config.special))
    both = jax.tree.map(lambda *a: np.concatenate(a), *padded)
    both = both.replace(mel_windows=spoken.mel_windows, mel_lengths=spoken.mel_lengths)
    with jax.default_matmul_precision("highest"):
        together = generate(model, params, both, _keys(3), jnp.int32(12), decoding)
        for row, single in enumerate([spoken, written, written]):
            alone = generate(model, params, single, _keys(1), jnp.int32(12), decoding)
            for name in ("text_ids", "text_count", "speech_ids", "speech_count"):
                np.testing.assert_array_equal(getattr(together, name)[row], getattr(alone, name)[0], err_msg=name)


def test_the_limit_is_an_array_and_may_be_zero():
    g, full = _answer("dense", "s2s")
    compiled = prefill._cache_size(), advance._cache_size()
    _, none = _answer("dense", "s2s", 0)
    _, some = _answer("dense", "s2s", 5)
    assert (prefill._cache_size(), advance._cache_size()) == compiled
    assert int(none.text_count[0]) == 0 and int(none.speech_count[0]) == 0
    assert np.all(np.asarray(none.text_ids) == g.config.special.pad)
    assert int(some.text_count[0]) == 5 and int(some.speech_count[0]) == 4
    np.testing.assert_array_equal(some.text_ids[0, :5], full.text_ids[0, :5])


def test_no_step_copies_a_cache():
    """A step writes its keys and values where they lie; merged caches are copied nowhere in the whole program."""
    g = golden("dense")
    model, params = prepare(g.config, g.params)
    prompt = release_batch(under(g.arrays, "s2s/in/"), g.config)
    text, steps = g.config.text, 24

    def copies(dims: CacheDims) -> int:
        chosen = model.clone(kernels=dataclasses.replace(model.kernels, cache=dims))
        length = prompt.text_ids.shape[1] + steps
        begun = partial(prefill, chosen, length=length, max_steps=steps, joint=True, draws=False)
        slots = jax.eval_shape(begun, params, prompt, requests(Decoding("joint", steps), _keys(1)))
        program = advance.lower(chosen, params, slots, jnp.int32(steps), False, draws=False).compile()
        rows = f"{text.num_kv_heads}" if dims == MERGED else f"1,{text.num_kv_heads}"
        cache = f"f32[{rows},{length},{text.head_dim}]"
        hlo = program.as_text()
        assert cache in hlo
        return len(re.findall(re.escape(f"= {cache}") + r"\{[\d,]*\} copy\(", hlo))

    assert (copies(MERGED), copies(APART) > 0) == (0, True)


def test_drawn_speech_depends_on_the_key_alone():
    g = golden("dense")
    model, params = prepare(g.config, g.params)
    prompt = release_batch(under(g.arrays, "s2s/in/"), g.config)
    decoding = Decoding("joint", 6, speech=Sampling(temperature=1.0, top_k=20, top_p=0.95))

    def draw(seed: int) -> np.ndarray:
        return np.asarray(
            generate(model, params, prompt, jax.random.key(seed)[None], jnp.int32(6), decoding).speech_ids
        )

    np.testing.assert_array_equal(draw(1), draw(1))
    assert np.any(draw(1) != draw(2))


def test_penalty_touches_every_seen_id_once():
    logits = jnp.array([[2.0, 1.9, -1.0]])
    seen = mark(jnp.zeros((1, 3), bool), jnp.array([[0, 0, 2]]), jnp.array([[True, True, True]]))
    assert int(pick(logits, seen, _keys(1), GREEDY)[0]) == 0
    assert int(pick(logits, seen, _keys(1), Sampling(repetition_penalty=1.1))[0]) == 1


def test_top_k_and_top_p_keep_the_likeliest():
    logits = jnp.log(jnp.array([[0.5, 0.3, 0.15, 0.05]]))
    kept = lambda x: np.isfinite(np.asarray(x[0])).tolist()  # noqa: E731
    for top_k, top_p, count in (
        (2, 1.0, 2),
        (0, 1.0, 4),
        (9, 1.0, 4),
        (0, 0.79, 2),
        (0, 0.81, 3),
        (0, 0.01, 1),
        (0, 0.0, 1),
    ):
        assert kept(keep_likeliest(logits, top_k, top_p)) == [i < count for i in range(4)]
    # Of the two likeliest, whose probabilities are then 0.625 and 0.375.
    assert kept(keep_likeliest(logits, 2, 0.6)) == [True, False, False, False]
    of_rows = keep_likeliest(jnp.tile(logits, (3, 1)), jnp.asarray([2, 0, 0]), jnp.asarray([1.0, 1.0, 0.01]))
    assert np.isfinite(of_rows).sum(axis=1).tolist() == [2, 4, 1]


def test_a_draw_at_temperature_zero_or_top_p_zero_takes_the_likeliest():
    logits = jnp.array([[0.0, 0.1, 0.2, 0.1]] * 64)
    unseen = jnp.zeros(logits.shape, bool)
    for cold in (Sampling(temperature=0.0), Sampling(temperature=1.0, top_p=0.0)):
        assert np.unique(pick(logits, unseen, _keys(64), cold)).tolist() == [2]
    assert len(np.unique(pick(logits, unseen, _keys(64), Sampling(temperature=1.0)))) > 1


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": -0.5},
        {"top_p": 1.5},
        {"top_p": float("nan")},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("nan")},
        {"top_k": -1},
    ],
)
def test_values_that_pick_nothing_are_refused(values):
    with pytest.raises(InputError, match=f"{next(iter(values))} is .*; give"):
        Sampling(**values)


def test_a_reply_of_no_steps_is_refused():
    with pytest.raises(InputError, match="max_steps is 0; give 1 or more"):
        Decoding("joint", 0)
