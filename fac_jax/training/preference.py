"""Multi-task preference optimisation of both streams, from one forward pass over chosen and rejected replies."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, cast

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
from fac_jax.training.step import Counts, Metrics
from fac_jax.types import IGNORE, NO_TASK, PREFERENCE_TASKS, REPLAY, Array, Batch, ModelOutput, Params, PreferenceBatch


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
      reference: log-probabilities that are "stored" with the rows, made in one pass before the first step, or those of
        a "frozen" copy of the parameters that the stage starts from, in every step.
    """

    kind: PreferenceKind = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    text_weight: float = 1.0
    speech_weight: float = 1.0
    text_anchor: float = 0.0
    speech_anchor: float = 0.0
    task_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reference: Literal["stored", "frozen"] = "stored"

    @property
    def speaks(self) -> bool:
        """Whether the speech stream counts at all; the refined head is not run else."""
        return bool(self.speech_weight or self.speech_anchor)


def reply_log_probs(
    model: FunAudioChat,
    params: Params,
    batch: Batch,
    segments: int,
    chunk: int,
    speech: bool = True,
    spoken_rows: int | None = None,
    logits_dtype: str = "float32",
) -> ReplyLogProbs:
    """Log-probabilities of every conversation's labels, `[B, segments, 2]`, from one forward pass.

    Args:
      model: policy or reference.
      params: its parameters.
      batch: conversations.
      segments: most conversations of a row.
      chunk: LLM positions whose logits are held at once.
      speech: False leaves the refined head out, and the speech sums at 0.
      spoken_rows: the first rows, the only ones that may have speech labels; None for all.
      logits_dtype: in which logits are held.
    """
    heads = "joint" if speech else "text"
    out = cast(ModelOutput, model.apply({"params": params}, batch, heads=heads, spoken_rows=spoken_rows))
    labels = next_labels(batch.labels, batch.segment_ids)
    losses = chunked_token_losses(out.hidden, text_unembedding(params, model.config), labels, chunk, logits_dtype)
    text = conversation_log_probs(losses, batch.segment_ids, segments)
    spoken = (jnp.zeros_like(text[0]), jnp.zeros_like(text[1]))
    if out.speech_hidden is not None:
        group = model.config.group_size
        hidden = rearrange(out.speech_hidden, "b s g d -> b (s g) d")
        labels = next_labels(batch.speech_labels, batch.segment_ids)[:spoken_rows]
        labels = rearrange(labels, "b s g -> b (s g)")
        losses = chunked_token_losses(hidden, speech_unembedding(params), labels, chunk * group, logits_dtype)
        fine = jnp.repeat(jnp.asarray(batch.segment_ids)[:spoken_rows], group, axis=1)
        sums = conversation_log_probs(losses, fine, segments)
        spoken = tuple(zero.at[: len(some)].set(some) for zero, some in zip(spoken, sums, strict=True))
    total, tokens = (jnp.stack(values, axis=-1) for values in zip(text, spoken, strict=True))
    return ReplyLogProbs(total=total, tokens=tokens)


def compared(tasks: Array) -> jax.Array:
    """Where a batch's `tasks` name pairs, of which one reply is preferred."""
    return (jnp.asarray(tasks) != NO_TASK) & (jnp.asarray(tasks) != REPLAY)


def pair_counts(pairs: PreferenceBatch) -> Counts:
    """What the means of `pair_loss` are over: pairs, those of every task, and the chosen replies' tokens."""
    batch, tasks = pairs.batch, jnp.asarray(pairs.tasks)
    text = next_labels(batch.labels, batch.segment_ids)[0::2] != IGNORE
    speech = next_labels(batch.speech_labels, batch.segment_ids)[0::2] != IGNORE
    found = {"pairs": compared(tasks), "text": text, "speech": speech}
    found |= {name: tasks == number for number, name in enumerate(PREFERENCE_TASKS)}
    return {name: jnp.sum(flags, dtype=jnp.float32) for name, flags in found.items()}


def preference_objective(
    model: FunAudioChat,
    config: PreferenceConfig,
    params: Params,
    pairs: PreferenceBatch,
    chunk: int,
    counts: Counts | None = None,
    frozen: Params | None = None,
    spoken_rows: int | None = None,
    logits_dtype: str = "float32",
) -> tuple[jax.Array, Metrics]:
    """Weighed loss of all pairs and the anchors, with the metrics of every task.

    Args:
      model: the policy, and the reference.
      config: what is preferred how strongly.
      params: of the policy.
      pairs: a (micro-)batch.
      chunk: LLM positions whose logits are held at once.
      counts: `pair_counts` of all micro-batches together; of `pairs` if None.
      frozen: parameters of the reference; None if `pairs.reference` holds its log-probabilities.
      spoken_rows: the first rows of `pairs.batch`, the only ones that may have speech labels; None for all.
      logits_dtype: in which logits are held.
    """
    segments = pairs.tasks.shape[1]

    def score(parameters: Params) -> ReplyLogProbs:
        rows = (config.speaks, spoken_rows, logits_dtype)
        return reply_log_probs(model, parameters, pairs.batch, segments, chunk, *rows)

    counts = pair_counts(pairs) if counts is None else counts
    reference = jnp.asarray(pairs.reference) if frozen is None else jax.lax.stop_gradient(score(frozen).total)
    return pair_loss(config, score(params), reference, jnp.asarray(pairs.tasks), counts)


def pair_margins(config: PreferenceConfig, total: Array, reference: Array) -> jax.Array:
    """How much more than the reference the policy prefers the chosen replies, streams weighed, float32 `[P, N]`.

    Args:
      config: weighs the streams.
      total: log-probabilities of the policy, `[2 P, N, 2]`, chosen and rejected in turn; zeros give the reference's
        own preference, turned around.
      reference: likewise.
    """
    weights = jnp.array([config.text_weight, config.speech_weight])
    gains = margins(total[0::2], total[1::2], reference[0::2], reference[1::2])
    return jnp.einsum("pnw,w->pn", gains, weights, precision="highest")


def pair_loss(
    config: PreferenceConfig, replies: ReplyLogProbs, reference: Array, tasks: Array, counts: Counts
) -> tuple[jax.Array, Metrics]:
    """Loss and metrics from log-probabilities.

    Metrics of a task are means over its pairs: `loss`, `margin` (beta h), `accuracy` (share of pairs whose chosen reply
    the policy prefers more than the reference does), and `kl`, log reference - log policy of a token, over both
    replies: an estimate of KL(reference | policy) on what they say. They are 0 for a task without pairs in the batch.

    Args:
      config: what is preferred how strongly.
      replies: of the policy, `[2 P, N, 2]`, chosen and rejected in turn.
      reference: float32 `[2 P, N, 2]`.
      tasks: int32 `[P, N]`.
      counts: what the means are over (`pair_counts`).
    """
    per = {name: 1.0 / jnp.maximum(count, 1.0) for name, count in counts.items()}
    h = pair_margins(config, replies.total, reference)
    losses = preference_loss(h, config.kind, config.beta, config.label_smoothing)
    pairs, there = (flags.astype(jnp.float32) for flags in (compared(tasks), tasks != NO_TASK))
    by_task = jnp.array([config.task_weights.get(name, 1.0) for name in PREFERENCE_TASKS])
    preference = jnp.sum(pairs * by_task[jnp.maximum(tasks, 0)] * losses) * per["pairs"]

    nats = -jnp.sum(replies.total[0::2] * there[..., None], axis=(0, 1))
    anchors = {"text": nats[0] * per["text"], "speech": nats[1] * per["speech"]}
    loss = preference + config.text_anchor * anchors["text"] + config.speech_anchor * anchors["speech"]

    used = jnp.array([bool(config.text_weight or config.text_anchor), config.speaks], jnp.float32)
    drift = jnp.sum((reference - replies.total) * used, axis=-1)
    kl = drift / jnp.maximum(jnp.sum(replies.tokens * used, axis=-1), 1.0)
    metrics = {"preference_loss": preference} | {f"chosen_{name}_loss": value for name, value in anchors.items()}
    values = {
        "loss": losses,
        "margin": config.beta * h,
        "accuracy": (h > 0).astype(jnp.float32),
        "kl": (kl[0::2] + kl[1::2]) / 2,
    }
    for number, name in enumerate(PREFERENCE_TASKS):
        mine = (tasks == number).astype(jnp.float32)
        metrics |= {f"{name}/{what}": jnp.sum(mine * value) * per[name] for what, value in values.items()}
    return loss, metrics
