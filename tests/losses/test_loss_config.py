"""A loss is its config: the table of losses, values that are refused, models and rows that a loss cannot train on."""

import math
from typing import Any

import jax
import numpy as np
import pytest
from toy_pairs import pairs_of
from toy_training import MODEL, make_batch

from fac_jax.batching.packing import Budget
from fac_jax.losses import LOSSES, Ctc, Duplex, Preference, Sft
from fac_jax.models.config import replace
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import bind
from fac_jax.types import InputError, Params

TOKENS = replace(MODEL, user_audio="tokens")
SHAPES = Budget(rows=2, seq_len=8, windows_per_row=2, segments=4)


def test_every_loss_is_in_the_table_under_its_kind() -> None:
    assert {"sft": Sft, "ctc": Ctc, "preference": Preference, "duplex": Duplex} == LOSSES
    assert StageConfig("plain", 1).loss == Sft()


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("sft", {"text_weight": -1.0}, "sft loss: text_weight is -1.0; it must be at least 0"),
        ("sft", {"speech_weight": math.nan}, "speech_weight is nan"),
        ("sft", {"ctc_weight": math.inf}, "ctc_weight is inf"),
        ("sft", {"text_weight": 0.0, "speech_weight": 0.0}, "text_weight is 0.0; it must be positive where"),
        ("sft", {"chunk": 0}, "chunk is 0; it must be at least 1"),
        ("sft", {"logits_dtype": "float16"}, "logits_dtype is 'float16'; it must be one of float32, bfloat16"),
        ("preference", {"objective": "orpo"}, "objective is 'orpo'; it must be one of sigmoid, ipo, hinge"),
        ("preference", {"reference": "none"}, "reference is 'none'; it must be one of stored, frozen"),
        ("preference", {"beta": 0.0}, "beta is 0.0; it must be more than 0"),
        ("preference", {"label_smoothing": 0.5}, "label_smoothing is 0.5; it must be at least 0 and less than 0.5"),
        ("preference", {"speech_anchor": -0.1}, "speech_anchor is -0.1"),
        ("preference", {"text_weight": 0.0, "speech_weight": 0.0}, "text_weight is 0.0; it must be positive where"),
        ("preference", {"task_weights": {"empathi": 2.0}}, "task_weights is .*'empathi'.*by the names of tasks"),
        ("preference", {"task_weights": {"empathy": -2.0}}, "task_weights is .* at least 0 for every task"),
    ],
)
def test_values_that_no_loss_can_have_are_refused(kind: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LOSSES[kind](**values)


def test_a_model_that_hears_tokens_has_no_encoder_to_align() -> None:
    for loss in (Ctc(), Sft(ctc_weight=0.1)):
        loss.check(MODEL, 1, "stages.ears")
        with pytest.raises(InputError, match="^stages.ears: CTC aligns the encoder"):
            loss.check(TOKENS, 1, "stages.ears")
    for loss in (Sft(), Preference()):
        loss.check(TOKENS, 1, "stages.ears")


@pytest.mark.parametrize(
    ("loss", "allowed", "refused"),
    [
        (Ctc(), [1], [None, 2]),
        (Sft(ctc_weight=0.1), [1], [None, 2]),
        (Sft(), [None, 1, 2], []),
        (Preference(), [1, 2], [None]),
    ],
)
def test_rows_of_too_many_conversations_are_refused(loss: Any, allowed: list[Any], refused: list[Any]) -> None:
    for segments in allowed:
        loss.check(MODEL, segments, "stages.x")
    for segments in refused:
        with pytest.raises(InputError, match="^config key stages.x.data.segments is "):
            loss.check(MODEL, segments, "stages.x")


@pytest.mark.parametrize("loss", [kind() for kind in LOSSES.values()], ids=lambda loss: loss.kind)
def test_a_batch_of_padding_has_the_shapes_of_its_budget(loss: Any) -> None:
    batch = loss.collate([], SHAPES, MODEL)
    assert loss.conversations(batch).text_ids.shape == (2 * SHAPES.rows if loss.pairs else SHAPES.rows, SHAPES.seq_len)
    assert len(loss.conversations(batch).mel_windows) == SHAPES.windows
    if loss.pairs:
        assert batch.tasks.shape == (SHAPES.rows, SHAPES.segments)


@pytest.mark.parametrize("loss", [Sft(), Ctc(), Preference(text_anchor=1.0)], ids=lambda loss: loss.kind)
def test_counts_of_more_halve_the_share_of_a_batch(loss: Any, toy_params: Params) -> None:
    """The loss of a micro-batch is its share of the whole: with twice the counts it is half as large."""
    batch = pairs_of(0) if loss.pairs else make_batch(0)
    objective = bind(loss, FunAudioChat(MODEL))
    counts = objective.counts(batch)
    twice = jax.tree.map(lambda count: 2 * count, counts)

    @jax.jit
    def both(params: Params) -> list[jax.Array]:
        return [objective.loss(params, batch, some, None)[0] for some in (counts, twice)]

    whole, share = map(float, both(toy_params))
    assert whole > 0
    np.testing.assert_allclose(share, whole / 2, rtol=1e-6)
