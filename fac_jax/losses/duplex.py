"""Training on calls, with conversations among them: weighted cross-entropy, and metrics of how turns are taken."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.losses.base import Counts, LogitsDtype, Loss, Metrics, check_field
from fac_jax.losses.cross_entropy import TokenLosses, next_labels
from fac_jax.losses.duplex_weights import speech_weights, text_weights
from fac_jax.losses.log_probs import stream_losses
from fac_jax.losses.sft import with_router
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block, blocks
from fac_jax.models.fun_audio_chat import FunAudioChat, text_unembedding
from fac_jax.types import IGNORE, Array, Batch, InputError, Kind, Moment, Params

# Groups of labels that have a loss of their own among the metrics.
TEXT_GROUPS: Final = ("calls/idle", "calls/bos", "calls/eos", "calls/text", "conversations/text")
SPEECH_GROUPS: Final = ("calls/speech", "conversations/speech")
STARTS: Final[Mapping[str, str]] = {  # where the probability of audio_bos is reported, and over which labels
    "calls/bos_at_starts": "calls/bos",
    "calls/bos_in_pauses": "calls/pauses",
    "calls/bos_in_idle": "calls/idle",
}
STOPS: Final[Mapping[str, str]] = {  # the same for audio_eos
    "calls/eos_at_cuts": "calls/cuts",
    "calls/eos_in_backchannels": "calls/backchannels",
}


class Labels(NamedTuple):
    """The labels of a stream by the positions that predict them.

    Attributes:
      weights: weight of every label; 0 where there is none.
      groups: whether there is a label of a group, by the group's name.
    """

    weights: Float[jax.Array, "B T"]
    groups: dict[str, Bool[jax.Array, "B T"]]


@dataclasses.dataclass(frozen=True)
class Duplex(Loss):
    """Cross-entropy of both streams, weighted by what a label decides, and the router's load balancing loss.

    The weights are those of `losses/duplex_weights.py`, whose values are in the model's `DuplexConfig`. The loss of a
    stream is divided by the sum of its weights. Labels of conversations have weight 1: a batch without calls has the
    loss of `Sft`.

    Metrics are the losses of groups of labels, without weights: in calls `audio_bos`, `audio_eos`, the `sil` of idle
    slots, the text of turns and their speech; in conversations text and speech. `calls/talking` is the share of slots
    in which the assistant talks. The others are mean probabilities, corrected for the weights as a call corrects them:
    of `audio_bos` where turns start, where the user pauses and in all idle slots, and of `audio_eos` where the user
    cuts a turn and where a turn goes on under a backchannel. A metric is 0 in a batch without such labels.

    Attributes:
      text_weight: weight of the text loss.
      speech_weight: weight of the speech loss; at 0 the refined head is not run.
      chunk: LLM positions whose logits exist at the same time.
      logits_dtype: dtype of the logits; softmax and losses are float32.
    """

    kind: ClassVar[str] = "duplex"

    text_weight: float = 1.0
    speech_weight: float = 1.0
    chunk: int = 256
    logits_dtype: LogitsDtype = "float32"

    def __post_init__(self) -> None:
        weights = {name: getattr(self, name) for name in ("text_weight", "speech_weight")}
        for name, weight in weights.items():
            check_field(self, name, 0 <= weight < math.inf, "at least 0")
        check_field(self, "text_weight", any(weights.values()), "positive where speech_weight is 0")
        check_field(self, "chunk", self.chunk >= 1, "at least 1")
        dtypes = typing.get_args(LogitsDtype)
        check_field(self, "logits_dtype", self.logits_dtype in dtypes, f"one of {', '.join(dtypes)}")

    def counts(self, batch: Batch, config: ModelConfig) -> Counts:
        """Sums the weights of both streams, and counts their labels, those of every group, and the batch itself."""
        found: dict[str, jax.Array] = {"batches": jnp.ones(1)}
        for name, labels in (("text", text_labels(batch, config)), ("speech", speech_labels(batch, config))):
            found |= {name: labels.weights > 0, f"{name}_weights": labels.weights, **labels.groups}
        return {name: jnp.sum(values, dtype=jnp.float32) for name, values in found.items()}

    def __call__(
        self,
        model: FunAudioChat,
        params: Params,
        batch: Batch,
        counts: Counts | None = None,
        reference: Params | None = None,
    ) -> tuple[jax.Array, Metrics]:
        """Computes the weighted sum of the losses. See `Loss`."""
        config = model.config
        counts = self.counts(batch, config) if counts is None else counts
        per = {name: 1.0 / jnp.where(count > 0, count, 1.0) for name, count in counts.items()}
        out, words, units = stream_losses(model, params, batch, bool(self.speech_weight), self.chunk, self.logits_dtype)
        labels = text_labels(batch, config)
        metrics = _losses("text", words, labels, TEXT_GROUPS, per)
        metrics["calls/talking"] = jnp.sum(labels.groups["calls/talking"]) * per["calls/slots"]
        metrics |= _decisions(out.hidden, text_unembedding(params, config), batch, words, labels, config, per)
        loss = self.text_weight * metrics["text_loss"]
        if units is not None:
            metrics |= _losses("speech", units, speech_labels(batch, config), SPEECH_GROUPS, per)
            loss += self.speech_weight * metrics["speech_loss"]
        return with_router(loss, metrics, out, config, per["batches"])

    def blocks(self, config: ModelConfig, stats: BatchStats) -> list[Block]:
        """Lists the products of the whole model; of the refined head only where speech has a weight."""
        return blocks(config, stats, bool(self.speech_weight), self.chunk)

    def check(self, config: ModelConfig, segments: int | None, where: str) -> None:
        """Refuses a half-duplex model. See `Loss`."""
        if config.duplex is None:
            raise InputError(f'{where}.loss.kind is "duplex", which trains a model for calls: set model.duplex')


def text_labels(batch: Batch, config: ModelConfig) -> Labels:
    """Finds the weights and the groups of text labels; T = S.

    Besides the groups of `TEXT_GROUPS` there are labels in slots where the user pauses, cuts a turn or says "mm-hm"
    (`Moment`), labels in slots where the assistant talks, and those in all slots.
    """
    special, kind, labels = config.special, jnp.asarray(batch.kind), jnp.asarray(batch.labels)
    assert config.duplex is not None and batch.beside is not None and batch.moments is not None
    beside, moments, idle = jnp.asarray(batch.beside), jnp.asarray(batch.moments), kind == Kind.SPEECH
    bos, eos = beside & (labels == special.audio_bos), beside & (labels == special.audio_eos)
    inside = beside & ~bos & ~eos
    groups = {
        "calls/idle": idle,
        "calls/bos": bos,
        "calls/eos": eos,
        "calls/text": inside,
        "conversations/text": ~(beside | idle),
        "calls/pauses": idle & (moments == Moment.PAUSE),
        "calls/cuts": eos & (moments == Moment.CUT),
        "calls/backchannels": inside & (moments == Moment.BACKCHANNEL),
        "calls/talking": beside & (kind == Kind.JOINT),
        "calls/slots": beside | idle,
    }
    weights = text_weights(labels, kind, beside, special, config.duplex)
    return _predicted(labels != IGNORE, weights, groups, batch.segment_ids)


def speech_labels(batch: Batch, config: ModelConfig) -> Labels:
    """Finds the weights and the groups (`SPEECH_GROUPS`) of speech labels; T = S G."""
    assert config.duplex is not None and batch.beside is not None
    labels, beside = jnp.asarray(batch.speech_labels), jnp.asarray(batch.beside)
    fine = jnp.broadcast_to(beside[..., None], labels.shape)
    weights = jnp.broadcast_to(speech_weights(labels, beside, config.special, config.duplex)[..., None], labels.shape)
    found = _predicted(
        labels != IGNORE, weights, {"calls/speech": fine, "conversations/speech": ~fine}, batch.segment_ids
    )
    return jax.tree.map(lambda values: values.reshape(len(values), -1), found)


def _predicted(
    kept: Bool[jax.Array, "B S *G"],
    weights: Float[jax.Array, "B S *G"],
    groups: Mapping[str, Bool[jax.Array, "B S *G"]],
    segment_ids: Int[Array, "B S"],
) -> Labels:
    """Moves what belongs to labels to the positions that predict them."""
    there = next_labels(jnp.where(kept, 0, IGNORE), segment_ids) != IGNORE

    def moved(values: jax.Array) -> jax.Array:
        return jnp.where(there, jnp.roll(values, -1, axis=1), 0)

    return Labels(moved(weights), {name: moved(values).astype(bool) for name, values in groups.items()})


def _losses(name: str, losses: TokenLosses, labels: Labels, groups: tuple[str, ...], per: Metrics) -> Metrics:
    """Computes the weighted loss of a stream, its accuracy, and the losses of groups of its labels."""
    found = {
        f"{name}_loss": jnp.sum(losses.loss * labels.weights) * per[f"{name}_weights"],
        f"{name}_accuracy": jnp.sum(losses.correct, dtype=jnp.float32) * per[name],
        f"{name}_labels": jnp.sum(losses.kept, dtype=jnp.float32),
    }
    return found | {f"{group}_loss": jnp.sum(losses.loss * labels.groups[group]) * per[group] for group in groups}


def _decisions(
    hidden: Float[jax.Array, "B S D"],
    table: Float[Array, "V D"],
    batch: Batch,
    losses: TokenLosses,
    labels: Labels,
    config: ModelConfig,
    per: Metrics,
) -> Metrics:
    """Computes the mean probabilities of `audio_bos` and `audio_eos` over the labels of `STARTS` and `STOPS`.

    The normaliser of a position's logits is known from the loss of its label.
    """
    assert config.duplex is not None
    ids = jnp.maximum(next_labels(batch.labels, batch.segment_ids), 0)
    rows = jnp.asarray(table, hidden.dtype)
    own = jnp.einsum("bsd,bsd->bs", hidden, rows[ids], preferred_element_type=jnp.float32)

    def mean(which: int, weight: float, groups: Mapping[str, str]) -> Metrics:
        logits = jnp.einsum("bsd,d->bs", hidden, rows[which], preferred_element_type=jnp.float32)
        chance = jnp.exp(jnp.minimum(logits - own - losses.loss, 0.0))
        corrected = chance / (chance + weight * (1 - chance))
        return {name: jnp.sum(corrected * labels.groups[group]) * per[group] for name, group in groups.items()}

    duplex, special = config.duplex, config.special
    starts = mean(special.audio_bos, duplex.turn_weight / duplex.idle_weight, STARTS)
    return starts | mean(special.audio_eos, duplex.turn_weight, STOPS)
