"""The interface of a loss: what data, the training step and the count of FLOPs ask of it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import jax

from fac_jax.batching.batch_stats import BatchStats
from fac_jax.batching.collate import collate_examples
from fac_jax.batching.grid import Example
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.batching.packing import Budget
from fac_jax.models.config import ModelConfig
from fac_jax.models.flops import Block
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import Batch, InputError, Params, PreferenceBatch

Counts: TypeAlias = dict[str, jax.Array]
Metrics: TypeAlias = dict[str, jax.Array]
Reference: TypeAlias = Literal["stored", "frozen"]
LogitsDtype: TypeAlias = Literal["float32", "bfloat16"]


class Loss(Protocol):
    """A loss, as a frozen dataclass whose fields are its config.

    A loss is a sum over the labels, pairs, .. of a batch, divided by how many there are. The number is an argument, so
    that the shares of several micro-batches add up to exactly the loss of the whole batch.

    Attributes:
      kind: the name of the loss in a config.
      pairs: True if the loss takes preference pairs (`PreferenceBatch`), False if it takes conversations (`Batch`).
    """

    kind: ClassVar[str]
    pairs: ClassVar[bool]

    @property
    def replays(self) -> bool:
        """True if conversations can be among the pairs; their replies are anchored, and nothing is preferred."""
        ...

    @property
    def needs_reference(self) -> Reference | None:
        """How the loss knows its reference model.

        "stored": log-probabilities lie in the batch (`PreferenceBatch.reference`). "frozen": the parameters that the
        stage starts from are passed to every call. None: the loss has no reference.
        """
        ...

    def counts(self, batch: Any, config: ModelConfig) -> Counts:
        """Counts, by name, the things that the loss and its metrics average over, as float32 scalars.

        Args:
          batch: one (micro-)batch.
          config: sizes and special ids of the model.
        """
        ...

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
          model: the model that is trained.
          params: its parameters.
          batch: one (micro-)batch.
          counts: `counts` summed over all micro-batches; None for those of `batch`.
          reference: parameters of the reference model if `needs_reference` is "frozen".
        """
        ...

    def collate(self, packed: Sequence[Sequence[Any]], budget: Budget, grid: ModelGrid) -> Batch | PreferenceBatch:
        """Lays packed rows out as the batch that the loss takes.

        Args:
          packed: the items of every row: `Example`, or `PairExample` if `pairs`.
          budget: static shapes of the batch; rows, positions and windows that are left over are padding.
          grid: group size and special ids of the model.

        Raises:
          InputError: the items exceed the budget.
        """
        ...

    def conversations(self, batch: Any) -> Batch:
        """Returns the conversations of a batch, both replies of a pair among them."""
        ...

    def blocks(self, config: ModelConfig, stats: BatchStats) -> list[Block]:
        """Lists the matrix products of the forward pass with their FLOPs.

        Args:
          config: sizes of the model.
          stats: what a batch holds.
        """
        ...

    def check_model(self, config: ModelConfig, where: str) -> None:
        """Checks that the loss can train a model.

        Args:
          config: of the model.
          where: config key of the stage, for the message.

        Raises:
          InputError: the model has no such output, or does not run the part that the loss trains.
        """
        ...

    def check_segments(self, segments: int | None, where: str) -> None:
        """Checks that the loss can read packed rows.

        Args:
          segments: the most conversations (or pairs) that a row may hold; None for any number.
          where: config key of the stage's data, for the message.

        Raises:
          InputError: rows may hold more conversations than the loss can tell apart.
        """
        ...


class ConversationLoss:
    """Base class of the losses of conversations, which have neither pairs nor a reference model."""

    pairs: ClassVar[bool] = False

    @property
    def replays(self) -> bool:
        """Returns False. See `Loss`."""
        return False

    @property
    def needs_reference(self) -> None:
        """Returns None. See `Loss`."""

    def collate(self, packed: Sequence[Sequence[Example]], budget: Budget, grid: ModelGrid) -> Batch:
        """Lays the conversations of every row out one after the other. See `Loss`."""
        return collate_examples(packed, budget, grid)

    def conversations(self, batch: Any) -> Batch:
        """Returns the batch itself."""
        return batch


def check_field(loss: Loss, name: str, valid: bool, wanted: str) -> None:
    """Checks the value of one field of a loss.

    Args:
      loss: the loss that is made.
      name: name of the field.
      valid: whether its value is allowed.
      wanted: what is allowed, for the message: "at least 0".

    Raises:
      InputError: `valid` is False.
    """
    if not valid:
        raise InputError(f"{loss.kind} loss: {name} is {getattr(loss, name)!r}; it must be {wanted}")
