"""Direct preference optimisation (DPO) of replies in two streams, for several tasks at once (paper, section 2.4).

A pair is a chosen and a rejected reply to one prompt. Its margin says how much more the policy prefers the chosen reply
than the reference model does, with a weight for each stream:
`h = sum_w weight_w * ((policy_chosen - reference_chosen) - (policy_rejected - reference_rejected))`.
Losses of a margin: sigmoid (Rafailov et al. 2023), IPO (Azar et al. 2023), hinge (SLiC, Zhao et al. 2023).
"""

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, Int

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.batching.grid import ModelGrid
from fac_jax.batching.packing import Budget
from fac_jax.batching.pairs import PairExample, collate_packed_pairs
from fac_jax.losses.base import Counts, LogitsDtype, Loss, Metrics, Reference, check_field
from fac_jax.losses.cross_entropy import next_labels
from fac_jax.losses.log_probs import ReplyLogProbs, reply_log_probs
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block, blocks
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.models.lora import detach
from fac_jax.types import IGNORE, NO_TASK, PREFERENCE_TASKS, REPLAY, Array, Batch, InputError, Params, PreferenceBatch

PreferenceObjective: TypeAlias = Literal["sigmoid", "ipo", "hinge"]


@dataclasses.dataclass(frozen=True)
class Preference(Loss):
    """Preference loss of all pairs, with cross-entropy of the chosen replies as an anchor.

    Attributes:
      objective: loss of a margin (`preference_loss`).
      beta: how strongly the policy is held to the reference.
      label_smoothing: share of pairs that are assumed to be labelled the wrong way round.
      text_weight: weight of the text stream in the margin.
      speech_weight: weight of the speech stream in the margin; a reply has several times more speech than text tokens.
      text_anchor: weight of the cross-entropy of the chosen replies' text.
      speech_anchor: weight of the cross-entropy of the chosen replies' speech.
      task_weights: weight of the loss of a task's pairs, by name; 1 for a task without one.
      reference: where the reference's log-probabilities come from: "stored" with the rows, computed in one pass before
        the first step; computed in every step by a "frozen" copy of the parameters that the stage starts from; or
        computed in every step by the policy's own parameters without their adapter, "adapter_off".
      chunk: LLM positions whose logits exist at the same time.
      logits_dtype: dtype of the logits; softmax and losses are float32.
    """

    kind: ClassVar[str] = "preference"
    pairs: ClassVar[bool] = True

    objective: PreferenceObjective = "sigmoid"
    beta: float = 0.1
    label_smoothing: float = 0.0
    text_weight: float = 1.0
    speech_weight: float = 1.0
    text_anchor: float = 0.0
    speech_anchor: float = 0.0
    task_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reference: Reference = "stored"
    chunk: int = 256
    logits_dtype: LogitsDtype = "float32"

    def __post_init__(self) -> None:
        choices = {"objective": PreferenceObjective, "reference": Reference, "logits_dtype": LogitsDtype}
        for name, choice in choices.items():
            known = typing.get_args(choice)
            check_field(self, name, getattr(self, name) in known, f"one of {', '.join(known)}")
        check_field(self, "beta", 0 < self.beta < math.inf, "more than 0")
        check_field(self, "label_smoothing", 0 <= self.label_smoothing < 0.5, "at least 0 and less than 0.5")
        for name in ("text_weight", "speech_weight", "text_anchor", "speech_anchor"):
            check_field(self, name, 0 <= getattr(self, name) < math.inf, "at least 0")
        streams = self.text_weight or self.speech_weight
        check_field(self, "text_weight", bool(streams), "positive where speech_weight is 0")
        for name, weight in self.task_weights.items():
            known = ", ".join(PREFERENCE_TASKS)
            check_field(self, "task_weights", name in PREFERENCE_TASKS, f"by the names of tasks: {known}")
            check_field(self, "task_weights", 0 <= weight < math.inf, "at least 0 for every task")
        check_field(self, "chunk", self.chunk >= 1, "at least 1")

    @property
    def needs_reference(self) -> Reference:
        """Where the log-probabilities of the reference come from. See `Loss`."""
        return self.reference

    @property
    def replays(self) -> bool:
        """True if conversations can be among the pairs, since an anchor learns from their replies."""
        return bool(self.text_anchor or self.speech_anchor)

    @property
    def speaks(self) -> bool:
        """True if the speech stream contributes to the loss; if not, the refined head is not run."""
        return bool(self.speech_weight or self.speech_anchor)

    def counts(self, batch: PreferenceBatch, config: ModelConfig) -> Counts:
        """Counts the pairs, those of every task, and the tokens of the chosen replies."""
        rows, tasks = batch.batch, jnp.asarray(batch.tasks)
        text = next_labels(rows.labels, rows.segment_ids)[0::2] != IGNORE
        speech = next_labels(rows.speech_labels, rows.segment_ids)[0::2] != IGNORE
        found = {"pairs": is_pair(tasks), "text": text, "speech": speech}
        found |= {name: tasks == number for number, name in enumerate(PREFERENCE_TASKS)}
        return {name: jnp.sum(flags, dtype=jnp.float32) for name, flags in found.items()}

    def __call__(
        self,
        model: FunAudioChat,
        params: Params,
        batch: PreferenceBatch,
        counts: Counts | None = None,
        reference: Params | None = None,
    ) -> tuple[jax.Array, Metrics]:
        """Computes the weighted loss of all pairs and the anchors, with metrics of every task. See `Loss`.

        Both replies of all pairs go through the model in one forward pass.
        """
        segments = batch.tasks.shape[1]

        def score(parameters: Params) -> ReplyLogProbs:
            return reply_log_probs(model, parameters, batch.batch, segments, self.chunk, self.speaks, self.logits_dtype)

        counts = self.counts(batch, model.config) if counts is None else counts
        if self.reference == "adapter_off" and reference is None:
            reference = detach(params)
        stored = batch.reference if reference is None else jax.lax.stop_gradient(score(reference).total)
        return self.pair_loss(score(params), jnp.asarray(stored), jnp.asarray(batch.tasks), counts)

    def margins(self, total: Float[Array, "rows R 2"], reference: Float[Array, "rows R 2"]) -> Float[jax.Array, "P R"]:
        """Computes the margins of pairs, float32, from log-probabilities under the policy and under the reference.

        Rows are chosen and rejected replies in turn. A reference of zeros gives the policy's own preference.
        """
        weights = jnp.array([self.text_weight, self.speech_weight])
        total, reference = jnp.asarray(total), jnp.asarray(reference)
        gains = (total[0::2] - reference[0::2]) - (total[1::2] - reference[1::2])
        return jnp.einsum("pnw,w->pn", gains, weights, precision="highest")

    def pair_loss(
        self,
        replies: ReplyLogProbs,
        reference: Float[Array, "rows R 2"],
        tasks: Int[Array, "P R"],
        counts: Counts,
    ) -> tuple[Float[jax.Array, ""], Metrics]:
        """Computes loss and metrics from log-probabilities.

        Metrics of a task are means over its pairs: `loss`, `margin` (beta h), `accuracy` (share of pairs whose chosen
        reply the policy prefers more than the reference does), and `kl`, log reference - log policy per token over
        both replies, an estimate of KL(reference | policy) on these replies. They are 0 for a task without pairs in the
        batch. Rows of `replies` and `reference` are chosen and rejected replies in turn.
        """
        per = {name: 1.0 / jnp.maximum(count, 1.0) for name, count in counts.items()}
        h = self.margins(replies.total, reference)
        losses = preference_loss(h, self.objective, self.beta, self.label_smoothing)
        pairs, filled = (flags.astype(jnp.float32) for flags in (is_pair(tasks), tasks != NO_TASK))
        by_task = jnp.array([self.task_weights.get(name, 1.0) for name in PREFERENCE_TASKS])
        preference = jnp.sum(pairs * by_task[jnp.maximum(tasks, 0)] * losses) * per["pairs"]

        nats = -jnp.sum(replies.total[0::2] * filled[..., None], axis=(0, 1))
        anchors = {"text": nats[0] * per["text"], "speech": nats[1] * per["speech"]}
        loss = preference + self.text_anchor * anchors["text"] + self.speech_anchor * anchors["speech"]

        used = jnp.array([bool(self.text_weight or self.text_anchor), self.speaks], jnp.float32)
        drift = jnp.sum((reference - replies.total) * used, axis=-1)
        kl = drift / jnp.maximum(jnp.sum(replies.tokens * used, axis=-1), 1.0)
        metrics = {"preference_loss": preference} | {f"chosen_{name}_loss": value for name, value in anchors.items()}
        values = {
            "loss": losses,
            "margin": self.beta * h,
            "accuracy": (h > 0).astype(jnp.float32),
            "kl": (kl[0::2] + kl[1::2]) / 2,
        }
        for number, name in enumerate(PREFERENCE_TASKS):
            mine = (tasks == number).astype(jnp.float32)
            metrics |= {f"{name}/{what}": jnp.sum(mine * value) * per[name] for what, value in values.items()}
        return loss, metrics

    def collate(self, packed: Sequence[Sequence[PairExample]], budget: Budget, grid: ModelGrid) -> PreferenceBatch:
        """Lays the pairs of every row out: chosen replies in row 2p, rejected ones in row 2p + 1. See `Loss`."""
        if budget.segments is None:
            raise InputError("packed preference pairs need `segments`, the most pairs of a row")
        shapes = budget.rows, budget.seq_len, budget.windows, budget.segments
        return collate_packed_pairs(packed, *shapes, grid, budget.features)

    def conversations(self, batch: Any) -> Batch:
        """Returns the chosen and the rejected replies with their prompts."""
        return batch.batch

    def blocks(self, config: ModelConfig, stats: BatchStats) -> list[Block]:
        """Lists the products of the policy's forward pass; of the refined head only where speech contributes."""
        return blocks(config, stats, self.speaks, self.chunk)

    def check(self, config: ModelConfig, segments: int | None, where: str) -> None:
        """Refuses rows of any number of pairs, since log-probabilities have a place for each. See `Loss`."""
        if segments is None:
            raise InputError(f"config key {where}.data.segments is missing: preferences need the most pairs of a row")


def is_pair(tasks: Int[Array, "P R"]) -> Bool[jax.Array, "P R"]:
    """Finds the places of a batch's `tasks` that hold pairs, rather than replayed conversations or nothing."""
    return (jnp.asarray(tasks) != NO_TASK) & (jnp.asarray(tasks) != REPLAY)


def preference_loss(
    h: Float[Array, "*pairs"], objective: PreferenceObjective, beta: float, label_smoothing: float = 0.0
) -> Float32[jax.Array, "*pairs"]:
    """Computes the loss of every pair from its margin.

    Args:
      objective: "sigmoid" `-log sigmoid(beta h)`, "ipo" `(h - 1 / (2 beta))^2`, "hinge" `max(0, 1 - beta h)`.
      beta: how strongly the policy is held to the reference.
      label_smoothing: share of pairs that are assumed to be labelled the wrong way round.
    """

    def loss(margin: jax.Array) -> jax.Array:
        match objective:
            case "sigmoid":
                return -jax.nn.log_sigmoid(beta * margin)
            case "ipo":
                return (margin - 1 / (2 * beta)) ** 2
            case "hinge":
                return jax.nn.relu(1 - beta * margin)

    h = jnp.asarray(h, jnp.float32)
    return (1 - label_smoothing) * loss(h) + label_smoothing * loss(-h)
