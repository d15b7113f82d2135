"""The preference pairs of the toy world as records."""

from collections.abc import Iterable, Iterator, Sequence

from data_pipelines.records.record import Message, Preference, Record, to_pair
from data_pipelines.worlds.schema import PairRow
from data_pipelines.worlds.tasks import recording
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.batching.pairs import PairExample, encode_conversation_pairs
from fac_jax.codec.base import Codec
from fac_jax.text.tokenizer import Tokenizer


def asked(row: PairRow, instruction: str | None = None) -> Message:
    """Returns the spoken question of a pair, with the row's own instruction after it or with another."""
    text = row.instruction if instruction is None else instruction
    return Message("user", text, recording(row.user_audio, row.question))


def replies(row: PairRow) -> tuple[Message, Message]:
    """Returns the better and the worse reply of a pair."""
    return (
        Message("assistant", row.chosen, recording(row.chosen_audio, row.chosen)),
        Message("assistant", row.rejected, recording(row.rejected_audio, row.rejected)),
    )


def pair_record(row: PairRow) -> Record:
    """Returns a pair as a record, whose id is the row's."""
    return Record(row.id, None, (asked(row),), Preference(row.task, *replies(row)), "", 0)


def pair_records(task: str, spoken: bool, rows: Iterable[PairRow]) -> Iterator[Record]:
    """Makes the records of the pairs of a preference task with spoken replies, or with written ones, in their order."""
    return (pair_record(row) for row in rows if row.task == task and (row.chosen_audio is not None) == spoken)


def pair_conversations(row: PairRow) -> tuple[Conversation, Conversation]:
    """Returns the conversation with the better reply and the one with the worse reply."""
    pair = to_pair(pair_record(row))
    return pair.chosen, pair.rejected


def encode_pairs(rows: Sequence[PairRow], tokenizer: Tokenizer, model: ModelGrid, codec: Codec) -> list[PairExample]:
    """Encodes rows as pairs of examples, in their order.

    Raises:
      InputError: a task that does not exist, or a row that does not fit (`grid.encode`); names it.
    """
    return encode_conversation_pairs([to_pair(pair_record(row)) for row in rows], tokenizer, model, codec)
