"""The base class of losses: what data, the training step and the count of FLOPs ask of one."""

import abc
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import jax

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.batching.collate import collate_packed
from fac_jax.batching.grid import ModelGrid
from fac_jax.batching.packing import Budget
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Batch, InputError, Params, PreferenceBatch

Counts: TypeAlias = dict[str, jax.Array]
Metrics: TypeAlias = dict[str, jax.Array]
Reference: TypeAlias = Literal["stored", "frozen", "adapter_off"]
LogitsDtype: TypeAlias = Literal["float32", "bfloat16"]


class Loss(abc.ABC):
    """Base class of losses, which are frozen dataclasses whose fields are their config.

    A loss is a sum over the labels, pairs, .. of a batch, divided by how many there are. The number is an argument, so
    that the shares of several micro-batches add up to exactly the loss of the whole batch. A loss gives `counts`,
    `__call__`, `blocks` and `check`; the rest is that of a loss of conversations without a reference model.

    Attributes:
      kind: the name of the loss in a config.
      pairs: True if the loss takes preference pairs (`PreferenceBatch`), False if it takes conversations (`Batch`).
    """

    kind: ClassVar[str]
    pairs: ClassVar[bool] = False

    @property
    def replays(self) -> bool:
        """True if conversations can be among the pairs; their replies are anchored, and nothing is preferred."""
        return False

    @property
    def needs_reference(self) -> Reference | None:
        """How the loss knows its reference model.

        "stored": log-probabilities lie in the batch (`PreferenceBatch.reference`). "frozen": the parameters that the
        stage starts from are passed to every call. "adapter_off": they are the given ones without their adapter
        (`models.lora`). None: the loss has no reference.
        """
        return None

    @abc.abstractmethod
    def counts(self, batch: Any, config: ModelConfig) -> Counts:
        """Counts, by name, what the loss and its metrics on a (micro-)batch average over, as float32 scalars."""

    @abc.abstractmethod
    def __call__(
        self,
        model: FunAudioChat,
        params: Params,
        batch: Any,
        counts: Counts | None = None,
        reference: Params | None = None,
    ) -> tuple[jax.Array, Metrics]:
        """Computes the loss of a batch, a float32 scalar, and metrics that add up over micro-batches as the loss does.

        Args:
          counts: `counts` summed over all micro-batches; None for those of `batch`.
          reference: parameters of the reference model if `needs_reference` is "frozen"; for "adapter_off" too where
            the adapter is merged into `params`.
        """

    def collate(self, packed: Sequence[Sequence[Any]], budget: Budget, grid: ModelGrid) -> Batch | PreferenceBatch:
        """Lays packed rows out as the batch that the loss takes: the items of a row one after the other.

        Args:
          packed: the items of every row: `Example`, or `PairExample` if `pairs`.
          budget: static shapes of the batch; rows, positions and windows that are left over are padding.

        Raises:
          InputError: the items exceed the budget.
        """
        return collate_packed(packed, budget.rows, budget.seq_len, budget.windows, grid, budget.features)

    def conversations(self, batch: Any) -> Batch:
        """Returns the conversations of a batch, both replies of a pair among them."""
        return batch

    @abc.abstractmethod
    def blocks(self, config: ModelConfig, stats: BatchStats) -> list[Block]:
        """Lists the matrix products of the forward pass on a batch of these contents, with their FLOPs."""

    @abc.abstractmethod
    def check(self, config: ModelConfig, segments: int | None, where: str) -> None:
        """Checks that the loss can train a model on packed rows.

        Args:
          segments: the most conversations (or pairs) that a row may hold; None for any number.
          where: config key of the stage, for the message.

        Raises:
          InputError: the model does not run the part that the loss trains, or rows may hold more conversations than
            the loss can tell apart.
        """


def check_field(loss: Loss, name: str, valid: bool, wanted: str) -> None:
    """Raises InputError unless the value of the field `name` is valid; `wanted` says what is, such as "at least 0"."""
    if not valid:
        raise InputError(f"{loss.kind} loss: {name} is {getattr(loss, name)!r}; it must be {wanted}")
