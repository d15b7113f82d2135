"""Losses that a model gives to the labels of both streams, and log-probabilities of whole replies."""

from typing import cast

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import struct
from jaxtyping import Float, Float32, Int

from fac_jax.losses.cross_entropy import TokenLosses, chunked_token_losses, next_labels
from fac_jax.models.fun_audio_chat import FunAudioChat, speech_unembedding, text_unembedding
from fac_jax.types import Array, Batch, ModelOutput, Params


@struct.dataclass
class ReplyLogProbs:
    """Log-probabilities of replies, summed over their tokens, float32; the last axis is text, speech.

    Attributes:
      total: sums of log-probabilities in nats; 0 for a stream that a reply does not have.
      tokens: number of tokens in each sum.
    """

    total: Float[Array, "*replies 2"]
    tokens: Float[Array, "*replies 2"]


def stream_losses(
    model: FunAudioChat, params: Params, batch: Batch, speech: bool, chunk: int, logits_dtype: str
) -> tuple[ModelOutput, TokenLosses, TokenLosses | None]:
    """Runs a model on conversations and computes the cross-entropy of every label.

    Args:
      speech: False leaves the refined head out.
      chunk: LLM positions whose logits exist at the same time.
      logits_dtype: dtype of the logits; softmax and losses are float32.

    Returns:
      the output of the model, the losses of the text `[B, S]`, and those of the speech `[B, S * G]`.
    """
    out = cast(ModelOutput, model.apply({"params": params}, batch, heads="joint" if speech else "text"))
    labels = next_labels(batch.labels, batch.segment_ids)
    text = chunked_token_losses(out.hidden, text_unembedding(params, model.config), labels, chunk, logits_dtype)
    if out.speech_hidden is None:
        return out, text, None
    hidden = rearrange(out.speech_hidden, "b s g d -> b (s g) d")
    labels = rearrange(next_labels(batch.speech_labels, batch.segment_ids), "b s g -> b (s g)")
    fine = chunk * model.config.group_size
    return out, text, chunked_token_losses(hidden, speech_unembedding(params), labels, fine, logits_dtype)


def reply_log_probs(
    model: FunAudioChat,
    params: Params,
    batch: Batch,
    segments: int,
    chunk: int,
    speech: bool = True,
    logits_dtype: str = "float32",
) -> ReplyLogProbs:
    """Computes the log-probabilities of every conversation's labels, `[B, segments, 2]`, in one forward pass.

    `segments` is the most conversations of a row. Without `speech` its sums are 0. See `stream_losses`.
    """
    _, words, units = stream_losses(model, params, batch, speech, chunk, logits_dtype)
    text = conversation_log_probs(words, batch.segment_ids, segments)
    spoken = (jnp.zeros_like(text[0]), jnp.zeros_like(text[1]))
    if units is not None:
        fine = jnp.repeat(jnp.asarray(batch.segment_ids), model.config.group_size, axis=1)
        spoken = conversation_log_probs(units, fine, segments)
    total, tokens = (jnp.stack(values, axis=-1) for values in zip(text, spoken, strict=True))
    return ReplyLogProbs(total=total, tokens=tokens)


def conversation_log_probs(
    losses: TokenLosses, segment_ids: Int[Array, "B T"], segments: int
) -> tuple[Float32[jax.Array, "B R"], Float32[jax.Array, "B R"]]:
    """Sums the losses of one stream over every conversation of every row; segment 0 is padding.

    Returns:
      log-probabilities in nats and numbers of tokens, float32, R = `segments`.
    """
    member = (jnp.asarray(segment_ids)[..., None] == jnp.arange(1, segments + 1)).astype(jnp.float32)

    def over(values: jax.Array) -> jax.Array:
        return jnp.einsum("bt,btn->bn", values.astype(jnp.float32), member, precision="highest")

    return -over(losses.loss), over(losses.kept)
