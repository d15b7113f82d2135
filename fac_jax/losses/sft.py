"""Supervised fine-tuning: next-token cross-entropy of the text and the speech stream, and balanced routers."""

import dataclasses
import math
import typing
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.losses.base import Counts, LogitsDtype, Loss, Metrics, check_field
from fac_jax.losses.cross_entropy import TokenLosses, next_labels
from fac_jax.losses.ctc import check_ctc, encoder_ctc_losses, transcribed_rows
from fac_jax.losses.log_probs import stream_losses
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block, blocks, ctc_blocks
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import IGNORE, Batch, ModelOutput, Params, RouterStats


@dataclasses.dataclass(frozen=True)
class Sft(Loss):
    """Cross-entropy of both streams, the router's load balancing loss and, where asked for, the encoder's CTC.

    LLM position s predicts text label s + 1; fine position p = iG + j predicts speech label p + G, which is token j of
    group i + 1. The text and the speech loss are means over their labels, in float32 (docs/model.md).

    Attributes:
      text_weight: weight of the text loss (lambda).
      speech_weight: weight of the speech loss (mu); at 0 the refined head is not run.
      ctc_weight: weight of the encoder's CTC loss against the row's text labels (`losses/ctc.py`); for rows whose reply
        is the transcript of what is heard, one conversation a row.
      chunk: LLM positions whose logits exist at the same time.
      logits_dtype: dtype of the logits; softmax and losses are float32.
    """

    kind: ClassVar[str] = "sft"

    text_weight: float = 1.0
    speech_weight: float = 1.0
    ctc_weight: float = 0.0
    chunk: int = 256
    logits_dtype: LogitsDtype = "float32"

    def __post_init__(self) -> None:
        weights = [self.text_weight, self.speech_weight, self.ctc_weight]
        for name, weight in zip(("text_weight", "speech_weight", "ctc_weight"), weights, strict=True):
            check_field(self, name, 0 <= weight < math.inf, "at least 0")
        check_field(self, "text_weight", any(weights), "positive where speech_weight and ctc_weight are 0")
        check_field(self, "chunk", self.chunk >= 1, "at least 1")
        dtypes = typing.get_args(LogitsDtype)
        check_field(self, "logits_dtype", self.logits_dtype in dtypes, f"one of {', '.join(dtypes)}")

    def counts(self, batch: Batch, config: ModelConfig) -> Counts:
        """Counts the labels of both streams, the transcripts, and the batch itself."""
        found = {
            "text": next_labels(batch.labels, batch.segment_ids) != IGNORE,
            "speech": next_labels(batch.speech_labels, batch.segment_ids) != IGNORE,
            "transcripts": transcribed_rows(batch, config.special),
            "batches": jnp.ones(1),
        }
        return {name: jnp.sum(flags, dtype=jnp.float32) for name, flags in found.items()}

    def __call__(
        self,
        model: FunAudioChat,
        params: Params,
        batch: Batch,
        counts: Counts | None = None,
        reference: Params | None = None,
    ) -> tuple[jax.Array, Metrics]:
        """Computes the weighted sum of the losses. See `Loss`."""
        counts = self.counts(batch, model.config) if counts is None else counts
        per = {name: 1.0 / jnp.maximum(count, 1.0) for name, count in counts.items()}
        speaks = bool(self.speech_weight)
        out, text, speech = stream_losses(model, params, batch, speaks, self.chunk, self.logits_dtype)
        metrics = _stream_metrics("text", text, per)
        loss = self.text_weight * metrics["text_loss"]
        if speech is not None:
            metrics |= _stream_metrics("speech", speech, per)
            loss += self.speech_weight * metrics["speech_loss"]
        loss, metrics = with_router(loss, metrics, out, model.config, per["batches"])
        if self.ctc_weight and out.audio_frames is not None:
            losses = encoder_ctc_losses(out.audio_frames, params, batch, model.config.special)
            metrics["ctc_loss"] = jnp.sum(losses) * per["transcripts"]
            loss += self.ctc_weight * metrics["ctc_loss"]
        return loss, metrics

    def blocks(self, config: ModelConfig, stats: BatchStats) -> list[Block]:
        """Lists the products of the whole model; of the refined head and of CTC only where they have a weight."""
        found = blocks(config, stats, bool(self.speech_weight), self.chunk)
        return found + ctc_blocks(config, stats) if self.ctc_weight else found

    def check(self, config: ModelConfig, segments: int | None, where: str) -> None:
        """Refuses CTC of an encoder that is not run, and of rows of several conversations. See `Loss`."""
        if self.ctc_weight:
            check_ctc(config, segments, where, "set its ctc_weight to 0")


def _stream_metrics(name: str, losses: TokenLosses, per: Metrics) -> Metrics:
    return {
        f"{name}_loss": jnp.sum(losses.loss) * per[name],
        f"{name}_accuracy": jnp.sum(losses.correct, dtype=jnp.float32) * per[name],
        f"{name}_labels": jnp.sum(losses.kept, dtype=jnp.float32),
    }


def with_router(
    loss: jax.Array, metrics: Metrics, out: ModelOutput, config: ModelConfig, share: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Adds the weighted balancing loss of a mixture of experts to a loss, and `router_metrics` to its metrics.

    `share` is 1 over the number of micro-batches.
    """
    moe = config.text.moe
    if moe is None or out.router is None:
        return loss, metrics
    metrics = metrics | {name: value * share for name, value in router_metrics(out.router).items()}
    return loss + moe.aux_loss_coef * metrics["router_loss"] if moe.aux_loss_coef else loss, metrics


def load_balancing_loss(stats: RouterStats) -> Float[jax.Array, ""]:
    """Computes `E * sum_e f_e p_e` over the unmasked tokens of all MoE layers together, a float32 scalar.

    f_e is the share of tokens that picked expert e (k slots, so f sums to k) and p_e its mean router probability.
    Even routing gives k, the least value. The loss is 0 when no token is unmasked.
    """
    tokens = jnp.maximum(stats.tokens, 1.0)
    experts = stats.picks.shape[-1]
    return experts * jnp.sum((stats.picks / tokens) * (stats.probs / tokens))


def router_metrics(stats: RouterStats) -> dict[str, Float[jax.Array, ""]]:
    """Computes metrics over the unmasked tokens of all MoE layers together, float32 scalars; 0 when there is none.

    `router_loss` is `load_balancing_loss`. `router_load` is the number of picks of the busiest expert over that of even
    routing, 1 to E / k. `router_idle` is the share of experts that no token picked. `router_entropy` is the mean
    entropy of the router's distribution for a token, 0 to log E nats.
    """
    tokens = jnp.maximum(stats.tokens, 1.0)
    picks = jnp.asarray(stats.picks)
    even = jnp.maximum(jnp.mean(picks), 1e-9)
    return {
        "router_loss": load_balancing_loss(stats),
        "router_load": jnp.max(picks) / even,
        "router_idle": jnp.mean(picks == 0, dtype=jnp.float32),
        "router_entropy": jnp.asarray(stats.entropy) / tokens,
    }
