"""Multi-task preference optimisation of both streams, from one forward pass over chosen and rejected replies."""

import dataclasses
from collections.abc import Mapping
from typing import Final, cast

import jax
import jax.numpy as jnp
from einops import rearrange

from fac_jax.losses.cross_entropy import chunked_token_losses
from fac_jax.losses.preference import (
    PreferenceKind,
    ReplyLogProbs,
    conversation_log_probs,
    margins,
    preference_loss,
)
from fac_jax.models.backbone import text_unembedding
from fac_jax.models.fun_audio_chat import FunAudioChat, speech_unembedding
from fac_jax.training.labels import next_labels
from fac_jax.training.step import Metrics
from fac_jax.types import NO_TASK, Array, Batch, ModelOutput, Params, PreferenceBatch

TASKS: Final = ("robustness", "instruction", "understanding", "empathy")


@dataclasses.dataclass(frozen=True)
class PreferenceConfig:
    """What is preferred how strongly.

    Attributes:
      kind: of the loss.
      beta: how strongly the policy is held to the reference.
      label_smoothing: share of pairs that are taken to be labelled the wrong way round.
      text_weight: of the text stream in the margin.
      speech_weight: of the speech stream in the margin; a reply has several times more speech than text tokens.
      text_anchor: weight of the cross-entropy of the chosen replies' text.
      speech_anchor: the same of their speech.
      task_weights: of the loss of a task's pairs; 1 for a task that is not named.
    """

    kind: PreferenceKind = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    text_weight: float = 1.0
    speech_weight: float = 1.0
    text_anchor: float = 0.0
    speech_anchor: float = 0.0
    task_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def speaks(self) -> bool:
        """Whether the speech stream counts at all; the refined head is not run else."""
        return bool(self.speech_weight or self.speech_anchor)


def reply_log_probs(
    model: FunAudioChat, params: Params, batch: Batch, segments: int, chunk: int, speech: bool = True
) -> ReplyLogProbs:
    """Log-probabilities of every conversation's labels, `[B, segments, 2]`, from one forward pass.

    Args:
      segments: most conversations of a row.
      chunk: LLM positions whose logits are held at once.
      speech: False leaves the refined head out, and the speech sums at 0.
    """
    heads = "joint" if speech else "text"
    out = cast(ModelOutput, model.apply({"params": params}, batch, heads=heads))
    labels = next_labels(batch.labels, batch.segment_ids)
    losses = chunked_token_losses(out.hidden, text_unembedding(params, model.config), labels, chunk)
    streams = [conversation_log_probs(losses, batch.segment_ids, segments)]
    if out.speech_hidden is None:
        streams.append((jnp.zeros_like(streams[0][0]), jnp.zeros_like(streams[0][1])))
    else:
        group = model.config.group_size
        hidden = rearrange(out.speech_hidden, "b s g d -> b (s g) d")
        labels = rearrange(next_labels(batch.speech_labels, batch.segment_ids), "b s g -> b (s g)")
        losses = chunked_token_losses(hidden, speech_unembedding(params), labels, chunk * group)
        fine = jnp.repeat(jnp.asarray(batch.segment_ids), group, axis=1)
        streams.append(conversation_log_probs(losses, fine, segments))
    total, tokens = (jnp.stack(values, axis=-1) for values in zip(*streams, strict=True))
    return ReplyLogProbs(total=total, tokens=tokens)


def preference_objective(
    model: FunAudioChat,
    config: PreferenceConfig,
    params: Params,
    pairs: PreferenceBatch,
    chunk: int,
    frozen: Params | None = None,
) -> tuple[jax.Array, Metrics]:
    """Weighed loss of all pairs and the anchors, with the metrics of every task.

    Args:
      frozen: parameters of the reference; None if `pairs.reference` holds its log-probabilities.
    """
    segments = pairs.tasks.shape[1]
    replies = reply_log_probs(model, params, pairs.batch, segments, chunk, config.speaks)
    reference = jnp.asarray(pairs.reference)
    if frozen is not None:
        found = reply_log_probs(model, frozen, pairs.batch, segments, chunk, config.speaks)
        reference = jax.lax.stop_gradient(found.total)
    return pair_loss(config, replies, reference, jnp.asarray(pairs.tasks))


def pair_loss(
    config: PreferenceConfig, replies: ReplyLogProbs, reference: Array, tasks: Array
) -> tuple[jax.Array, Metrics]:
    """Loss and metrics from log-probabilities.

    Metrics of a task are means over its pairs: `loss`, `margin` (beta h), `accuracy` (share of pairs whose chosen reply
    the policy prefers more than the reference does), and `kl`, log reference - log policy of a token, over both
    replies: an estimate of KL(reference | policy) on what they say. They are 0 for a task without pairs in the batch.

    Args:
      replies: of the policy, `[2 P, N, 2]`, chosen first.
      reference: float32 `[2 P, N, 2]`.
      tasks: int32 `[P, N]`.
    """
    half = tasks.shape[0]
    weights = jnp.array([config.text_weight, config.speech_weight])
    chosen, rejected = replies.total[:half], replies.total[half:]
    h = jnp.sum(margins(chosen, rejected, reference[:half], reference[half:]) * weights, axis=-1)
    losses = preference_loss(h, config.kind, config.beta, config.label_smoothing)
    there = (tasks != NO_TASK).astype(jnp.float32)
    by_task = jnp.array([config.task_weights.get(name, 1.0) for name in TASKS])
    weighed = there * by_task[jnp.maximum(tasks, 0)]
    preference = jnp.sum(weighed * losses) / jnp.maximum(jnp.sum(there), 1.0)

    nats = -jnp.sum(chosen * there[..., None], axis=(0, 1))
    tokens = jnp.sum(replies.tokens[:half] * there[..., None], axis=(0, 1))
    anchors = nats / jnp.maximum(tokens, 1.0)
    loss = preference + config.text_anchor * anchors[0] + config.speech_anchor * anchors[1]

    used = jnp.array([bool(config.text_weight or config.text_anchor), config.speaks], jnp.float32)
    drift = jnp.sum((reference - replies.total) * used, axis=-1)
    count = jnp.maximum(jnp.sum(replies.tokens * used, axis=-1), 1.0)
    kl = (drift / count)[:half] / 2 + (drift / count)[half:] / 2
    metrics = {"preference_loss": preference, "chosen_text_loss": anchors[0], "chosen_speech_loss": anchors[1]}
    values = {"loss": losses, "margin": config.beta * h, "accuracy": (h > 0).astype(jnp.float32), "kl": kl}
    for number, name in enumerate(TASKS):
        mine = (tasks == number).astype(jnp.float32)
        for what, value in values.items():
            metrics[f"{name}/{what}"] = jnp.sum(mine * value) / jnp.maximum(jnp.sum(mine), 1.0)
    return loss, metrics
