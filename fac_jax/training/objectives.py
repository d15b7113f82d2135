"""What a stage minimises: functions of parameters and a batch, built once for a model."""

from typing import cast

import jax
import jax.numpy as jnp
from einops import rearrange

from fac_jax.losses.cross_entropy import chunked_cross_entropy
from fac_jax.losses.ctc import ctc_loss
from fac_jax.losses.router import load_balancing_loss
from fac_jax.models.backbone import text_unembedding
from fac_jax.models.fun_audio_chat import FunAudioChat, speech_unembedding
from fac_jax.training.labels import next_labels
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import Metrics, Objective
from fac_jax.types import IGNORE, NO_FRAME, Batch, Kind, ModelOutput, Params

# Rows as pre-training leaves them (norms 0.3 to 1.1 in the toy world) give logits too flat to learn from: the loss of
# the quickstart's encoder after 150 steps is 1.24 on them, 0.51 at norm 2, 0.48 at norm 4.
ROW_NORM = 2.0


def sft_loss(
    model: FunAudioChat,
    params: Params,
    batch: Batch,
    text_weight: float,
    speech_weight: float,
    chunk: int,
    spoken_rows: int | None = None,
) -> tuple[jax.Array, Metrics]:
    """Cross-entropy of both streams and the router's loss (model.md section 7).

    LLM position s predicts text label s + 1; fine position p = iG + j predicts speech label p + G, that is token j of
    group i + 1. Both are means over kept labels, in float32. With `speech_weight` 0 the refined head is not run;
    else it is run on the first `spoken_rows` rows, the only ones that may have speech labels (None for all).
    """
    heads = "joint" if speech_weight else "text"
    out = cast(ModelOutput, model.apply({"params": params}, batch, heads=heads, spoken_rows=spoken_rows))
    labels = next_labels(batch.labels, batch.segment_ids)
    text = chunked_cross_entropy(out.hidden, text_unembedding(params, model.config), labels, chunk)
    loss = text_weight * text.mean()
    metrics = {"text_loss": text.mean(), "text_accuracy": text.accuracy(), "text_labels": text.count}
    if out.speech_hidden is not None:
        hidden = rearrange(out.speech_hidden, "b s g d -> b (s g) d")
        labels = next_labels(batch.speech_labels, batch.segment_ids)[:spoken_rows]
        labels = rearrange(labels, "b s g -> b (s g)")
        speech = chunked_cross_entropy(hidden, speech_unembedding(params), labels, chunk * model.config.group_size)
        loss += speech_weight * speech.mean()
        metrics |= {
            "speech_loss": speech.mean(),
            "speech_accuracy": speech.accuracy(),
            "speech_labels": speech.count,
        }
    moe = model.config.text.moe
    if moe is not None and moe.aux_loss_coef and out.router is not None:
        router = load_balancing_loss(out.router)
        loss += moe.aux_loss_coef * router
        metrics["router_loss"] = router
    return loss, metrics


def encoder_ctc_loss(model: FunAudioChat, params: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
    """CTC of the user's 25 Hz encoder frames against the row's text labels, scored by the text embedding.

    For transcription rows, whose labels are the words of their audio. A frame's logits are its products with the rows
    of the text embedding, all brought to one norm; the pad id is the blank. Markup (pad, end of turn, audio
    marks) is left out of the targets.
    """
    special = model.config.special
    windows = model.apply({"params": params}, batch.mel_windows, batch.mel_lengths, method="encode_audio")
    frames = rearrange(cast(jax.Array, windows), "w f d -> (w f) d")
    heard = (batch.kind == Kind.SPEECH)[..., None] & (batch.frame_index != NO_FRAME)
    index = rearrange(batch.frame_index, "b s g -> b (s g)")
    picked = jnp.take(frames, index, axis=0, mode="clip")
    table = params["backbone"]["embed"]["embedding"]
    table = (ROW_NORM * table / jnp.linalg.norm(table, axis=1, keepdims=True)).astype(picked.dtype)
    logits = jnp.einsum("btd,vd->btv", picked, table, preferred_element_type=jnp.float32)
    markup = jnp.array([IGNORE, special.pad, special.eos, special.audio_bos, special.audio_eos, special.sil])
    kept = ~jnp.isin(batch.labels, markup)
    loss = ctc_loss(logits, rearrange(heard, "b s g -> b (s g)"), batch.labels, kept, blank=special.pad)
    return loss, {"ctc_loss": loss}


def make_objective(stage: StageConfig, model: FunAudioChat) -> Objective:
    """The objective that a stage names."""
    if stage.loss == "ctc":
        return lambda params, batch: encoder_ctc_loss(model, params, batch)
    weights = (stage.text_weight, stage.speech_weight)
    return lambda params, batch: sft_loss(model, params, batch, *weights, stage.chunk, stage.spoken_rows)
