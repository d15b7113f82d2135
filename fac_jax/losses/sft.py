"""Supervised fine-tuning: next-token cross-entropy of the text and the speech stream."""

import dataclasses
import math
import typing
from typing import ClassVar, cast

import jax
import jax.numpy as jnp
from einops import rearrange

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.losses.base import ConversationLoss, Counts, LogitsDtype, Metrics, check_field
from fac_jax.losses.cross_entropy import chunked_cross_entropy
from fac_jax.losses.ctc import check_encoder, check_one_conversation, encoder_ctc_losses, transcribed_rows
from fac_jax.losses.labels import next_labels
from fac_jax.losses.router import router_metrics
from fac_jax.models.backbone import text_unembedding
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block, blocks, ctc_blocks
from fac_jax.models.fun_audio_chat import FunAudioChat, speech_unembedding
from fac_jax.types import IGNORE, Batch, ModelOutput, Params


@dataclasses.dataclass(frozen=True)
class Sft(ConversationLoss):
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
        heads = "joint" if self.speech_weight else "text"
        out = cast(ModelOutput, model.apply({"params": params}, batch, heads=heads))
        labels = next_labels(batch.labels, batch.segment_ids)
        table = text_unembedding(params, model.config)
        text = chunked_cross_entropy(out.hidden, table, labels, self.chunk, self.logits_dtype)
        metrics = {
            "text_loss": text.loss * per["text"],
            "text_accuracy": text.correct * per["text"],
            "text_labels": text.count,
        }
        loss = self.text_weight * metrics["text_loss"]
        if out.speech_hidden is not None:
            hidden = rearrange(out.speech_hidden, "b s g d -> b (s g) d")
            labels = rearrange(next_labels(batch.speech_labels, batch.segment_ids), "b s g -> b (s g)")
            fine = self.chunk * model.config.group_size
            speech = chunked_cross_entropy(hidden, speech_unembedding(params), labels, fine, self.logits_dtype)
            metrics |= {
                "speech_loss": speech.loss * per["speech"],
                "speech_accuracy": speech.correct * per["speech"],
                "speech_labels": speech.count,
            }
            loss += self.speech_weight * metrics["speech_loss"]
        moe = model.config.text.moe
        if moe is not None and out.router is not None:
            metrics |= {name: value * per["batches"] for name, value in router_metrics(out.router).items()}
            if moe.aux_loss_coef:
                loss += moe.aux_loss_coef * metrics["router_loss"]
        if self.ctc_weight and out.audio_frames is not None:
            losses = encoder_ctc_losses(out.audio_frames, params, batch, model.config.special)
            metrics["ctc_loss"] = jnp.sum(losses) * per["transcripts"]
            loss += self.ctc_weight * metrics["ctc_loss"]
        return loss, metrics

    def blocks(self, config: ModelConfig, stats: BatchStats) -> list[Block]:
        """Lists the products of the whole model; of the refined head and of CTC only where they have a weight."""
        found = blocks(config, stats, bool(self.speech_weight), self.chunk)
        return found + ctc_blocks(config, stats) if self.ctc_weight else found

    def check_model(self, config: ModelConfig, where: str) -> None:
        """Refuses CTC of a model that does not run its encoder. See `Loss`."""
        if self.ctc_weight:
            check_encoder(config, where, "set its ctc_weight to 0")

    def check_segments(self, segments: int | None, where: str) -> None:
        """Refuses CTC on rows of several conversations. See `Loss`."""
        if self.ctc_weight:
            check_one_conversation(segments, where)
