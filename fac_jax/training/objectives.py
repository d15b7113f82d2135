"""What a stage minimises: functions of parameters and a batch, built once for a model."""

from typing import cast

import jax
import jax.numpy as jnp
from einops import rearrange

from fac_jax.losses.cross_entropy import chunked_cross_entropy
from fac_jax.losses.ctc import ctc_losses
from fac_jax.losses.router import router_metrics
from fac_jax.models.backbone import text_unembedding
from fac_jax.models.fun_audio_chat import FunAudioChat, speech_unembedding
from fac_jax.parallel.mesh import Layout
from fac_jax.text.special_ids import SpecialIds
from fac_jax.training.labels import next_labels
from fac_jax.training.preference import pair_counts, preference_objective
from fac_jax.training.stage import StageConfig
from fac_jax.training.step import Counts, Metrics, Objective
from fac_jax.types import IGNORE, NO_FRAME, Array, Batch, Kind, ModelOutput, Params

# Rows as pre-training leaves them (norms 0.3 to 1.1 in the toy world) give logits too flat to learn from: the loss of
# the quickstart's encoder after 150 steps is 1.24 on them, 0.51 at norm 2, 0.48 at norm 4.
ROW_NORM = 2.0


def sft_counts(batch: Batch, special: SpecialIds, spoken_rows: int | None = None) -> Counts:
    """What the means of `sft_loss` are over: labels of both streams, transcripts, and one batch."""
    text = next_labels(batch.labels, batch.segment_ids) != IGNORE
    speech = next_labels(batch.speech_labels, batch.segment_ids)[:spoken_rows] != IGNORE
    frames, words = transcripts(batch, special)
    whole = jnp.any(frames, axis=1) & jnp.any(words, axis=1)
    found = {"text": text, "speech": speech, "transcripts": whole, "batches": jnp.ones(1)}
    return {name: jnp.sum(flags, dtype=jnp.float32) for name, flags in found.items()}


def sft_loss(
    model: FunAudioChat,
    params: Params,
    batch: Batch,
    text_weight: float,
    speech_weight: float,
    chunk: int,
    spoken_rows: int | None = None,
    ctc_weight: float = 0.0,
    counts: Counts | None = None,
    logits_dtype: str = "float32",
) -> tuple[jax.Array, Metrics]:
    """Cross-entropy of both streams, the router's loss (model.md section 7) and, where asked for, the encoder's CTC.

    LLM position s predicts text label s + 1; fine position p = iG + j predicts speech label p + G, that is token j of
    group i + 1. Both are means over kept labels, in float32. With `speech_weight` 0 the refined head is not run;
    else it is run on the first `spoken_rows` rows, the only ones that may have speech labels (None for all).

    Args:
      counts: `sft_counts` of all micro-batches together, for this one's share of the whole loss; of `batch` if None.
      logits_dtype: in which logits are held.
    """
    counts = sft_counts(batch, model.config.special, spoken_rows) if counts is None else counts
    per = {name: 1.0 / jnp.maximum(count, 1.0) for name, count in counts.items()}
    heads = "joint" if speech_weight else "text"
    out = cast(ModelOutput, model.apply({"params": params}, batch, heads=heads, spoken_rows=spoken_rows))
    labels = next_labels(batch.labels, batch.segment_ids)
    text = chunked_cross_entropy(out.hidden, text_unembedding(params, model.config), labels, chunk, logits_dtype)
    metrics = {
        "text_loss": text.loss * per["text"],
        "text_accuracy": text.correct * per["text"],
        "text_labels": text.count,
    }
    loss = text_weight * metrics["text_loss"]
    if out.speech_hidden is not None:
        hidden = rearrange(out.speech_hidden, "b s g d -> b (s g) d")
        labels = next_labels(batch.speech_labels, batch.segment_ids)[:spoken_rows]
        labels = rearrange(labels, "b s g -> b (s g)")
        fine = chunk * model.config.group_size
        speech = chunked_cross_entropy(hidden, speech_unembedding(params), labels, fine, logits_dtype)
        metrics |= {
            "speech_loss": speech.loss * per["speech"],
            "speech_accuracy": speech.correct * per["speech"],
            "speech_labels": speech.count,
        }
        loss += speech_weight * metrics["speech_loss"]
    moe = model.config.text.moe
    if moe is not None and out.router is not None:
        metrics |= {name: value * per["batches"] for name, value in router_metrics(out.router).items()}
        if moe.aux_loss_coef:
            loss += moe.aux_loss_coef * metrics["router_loss"]
    if ctc_weight and out.audio_frames is not None:
        losses = encoder_ctc_losses(out.audio_frames, params, batch, model.config.special)
        metrics["ctc_loss"] = jnp.sum(losses) * per["transcripts"]
        loss += ctc_weight * metrics["ctc_loss"]
    return loss, metrics


def transcripts(batch: Batch, special: SpecialIds) -> tuple[jax.Array, jax.Array]:
    """Which 25 Hz frames a row's user is heard in, bool `[B, S * G]`, and which of its labels are words, bool `[B, S]`.

    Markup (pad, end of turn, audio marks) is no word.
    """
    heard = (jnp.asarray(batch.kind) == Kind.SPEECH)[..., None] & (batch.frame_index != NO_FRAME)
    markup = jnp.array([IGNORE, special.pad, special.eos, special.audio_bos, special.audio_eos, special.sil])
    return rearrange(heard, "b s g -> b (s g)"), ~jnp.isin(batch.labels, markup)


def encoder_ctc_losses(frames: Array, params: Params, batch: Batch, special: SpecialIds) -> jax.Array:
    """CTC of the user's 25 Hz encoder frames against the row's text labels, scored by the text embedding; `[B]`.

    For transcription rows, whose labels are the words of their audio; 0 for a row without both. A frame's logits are
    its products with the rows of the text embedding, all brought to one norm; the pad id is the blank.

    Args:
      frames: of all windows, `[W * n // 2, D]` (`ModelOutput.audio_frames`).
      params: of the whole model.
      batch: conversations, one a row.
      special: of the model.
    """
    heard, words = transcripts(batch, special)
    picked = jnp.take(jnp.asarray(frames), rearrange(batch.frame_index, "b s g -> b (s g)"), axis=0, mode="clip")
    table = params["backbone"]["embed"]["embedding"]
    table = (ROW_NORM * table / jnp.linalg.norm(table, axis=1, keepdims=True)).astype(picked.dtype)
    logits = jnp.einsum("btd,vd->btv", picked, table, preferred_element_type=jnp.float32)
    return ctc_losses(logits, heard, batch.labels, words, blank=special.pad)


def encoder_ctc_loss(
    model: FunAudioChat, params: Params, batch: Batch, counts: Counts | None = None
) -> tuple[jax.Array, Metrics]:
    """Mean of `encoder_ctc_losses`, without running the LLM."""
    special = model.config.special
    counts = sft_counts(batch, special) if counts is None else counts
    frames = cast(jax.Array, model.apply({"params": params}, batch, method="audio_frames"))
    loss = jnp.sum(encoder_ctc_losses(frames, params, batch, special)) / jnp.maximum(counts["transcripts"], 1.0)
    return loss, {"ctc_loss": loss}


def make_objective(stage: StageConfig, model: FunAudioChat, layout: Layout | None = None) -> Objective:
    """The objective that a stage names, on the mesh of a layout or on one device."""
    objective = _objective(stage, model)
    return objective if layout is None else Objective(layout.inside(objective.counts), layout.inside(objective.loss))


def _objective(stage: StageConfig, model: FunAudioChat) -> Objective:
    special = model.config.special
    if stage.loss == "preference":
        return Objective(
            pair_counts,
            lambda params, pairs, counts, reference: preference_objective(
                model,
                stage.preference,
                params,
                pairs,
                stage.chunk,
                counts,
                reference,
                stage.spoken_rows,
                stage.logits_dtype,
            ),
        )
    if stage.loss == "ctc":
        return Objective(
            lambda batch: sft_counts(batch, special),
            lambda params, batch, counts, _: encoder_ctc_loss(model, params, batch, counts),
        )
    weights = {"text_weight": stage.text_weight, "speech_weight": stage.speech_weight, "ctc_weight": stage.ctc_weight}
    rows, chunk, dtype = stage.spoken_rows, stage.chunk, stage.logits_dtype
    return Objective(
        lambda batch: sft_counts(batch, special, rows),
        lambda params, batch, counts, _: sft_loss(
            model, params, batch, chunk=chunk, spoken_rows=rows, counts=counts, logits_dtype=dtype, **weights
        ),
    )
