"""Losses of both streams and CTC on the tiny model: labels, weights, what is not run."""

import jax
import numpy as np
from toy_training import MODEL, make_batch

from fac_jax.losses import Ctc, Sft
from fac_jax.losses.cross_entropy import next_labels, token_losses
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import IGNORE, Params


def test_no_label_is_predicted_across_segments() -> None:
    segments = np.array([[1, 1, 2, 2, 2, 0]])
    labels = np.array([[10, 11, 20, 21, 22, IGNORE]])
    assert next_labels(labels, segments).tolist() == [[11, IGNORE, 21, 22, IGNORE, IGNORE]]
    fine = np.stack([labels, labels + 100], axis=-1)
    assert next_labels(fine, segments)[0, :3].tolist() == [[11, 111], [IGNORE, IGNORE], [21, 121]]


def test_losses_are_those_of_shifted_labels(toy_params: Params) -> None:
    """Position s against label s + 1, fine position p against label p + G , on flat grids."""
    model, batch, group = FunAudioChat(MODEL), make_batch(5), MODEL.group_size

    @jax.jit
    def logits(p: Params) -> tuple[jax.Array, jax.Array]:
        output = model.apply({"params": p}, batch)
        text = model.apply({"params": p}, output.hidden, method="text_logits")
        return text, model.apply({"params": p}, output.speech_hidden, method="speech_logits")

    text, speech = logits(toy_params)
    fine = batch.speech_labels.reshape(len(speech), -1)
    speech = token_losses(speech.reshape(*fine.shape, -1)[:, :-group], fine[:, group:])
    text = token_losses(text[:, :-1], batch.labels[:, 1:])
    text_loss, speech_loss = (np.sum(one.loss) / np.sum(one.kept) for one in (text, speech))
    loss, metrics = jax.jit(lambda p: Sft(2.0, 0.5, chunk=4)(model, p, batch))(toy_params)
    np.testing.assert_allclose(metrics["speech_loss"], speech_loss, rtol=1e-5)
    np.testing.assert_allclose(metrics["text_loss"], text_loss, rtol=1e-5)
    np.testing.assert_allclose(loss, 2 * text_loss + speech_loss / 2, rtol=1e-5)
    assert metrics["speech_labels"] == (fine[:, group:] != IGNORE).sum()


def test_without_speech_weight_the_head_is_not_run(toy_params: Params) -> None:
    broken = toy_params | {"refined_head": {}}
    _, metrics = jax.jit(lambda p: Sft(speech_weight=0.0)(FunAudioChat(MODEL), p, make_batch(0)))(broken)
    assert "speech_loss" not in metrics and np.isfinite(metrics["text_loss"])


def test_ctc_hears_the_users_audio_and_nothing_else(toy_params: Params) -> None:
    loss = jax.jit(lambda b: Ctc()(FunAudioChat(MODEL), toy_params, b)[0])
    batch = make_batch(0)
    assert loss(batch.replace(speech_ids=np.roll(batch.speech_ids, 1, axis=-1))) == loss(batch)
    assert loss(batch.replace(mel_windows=batch.mel_windows * 2)) != loss(batch)
    assert loss(batch.replace(labels=np.where(batch.labels == IGNORE, MODEL.special.eos, batch.labels))) == loss(batch)
