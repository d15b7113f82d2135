"""The preference pairs of the toy world as records, and those of what a model must be able to do before DPO.

The latter are for "sft", from the sounds of training pairs. They ask in words of their own, so that DPO's own questions
are met only in DPO, except for "who is speaking":

openings_spoken   both openings of replies to sad and to happy questions: the model can say either and prefers neither
paces_spoken      a reply read aloud "slowly" or "quickly"
speakers          whether a man or a woman spoke
word_counts       how many words were said
noisy_asr         questions written down through noise
moods_asr         questions asked in a sad or a happy voice, written down
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

from data_pipelines.records.record import Message, Preference, Record, to_pair
from data_pipelines.worlds.preferences import HOW_MANY, PACES, WHO
from data_pipelines.worlds.schema import PairRow
from data_pipelines.worlds.tasks import record, recording
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.grid import ModelGrid
from fac_jax.batching.pairs import PairExample, encode_conversation_pairs
from fac_jax.codec.base import Codec
from fac_jax.text.prompts import TRANSCRIBE
from fac_jax.text.tokenizer import Tokenizer

READ: Final = "say {}: {}"
PHRASES: Final = {
    # A model that never met the question prefers one of its two answers whatever it hears, so strongly that an anchor
    # on the right ones moves this bias first: half of the pairs then count as lost.
    WHO: (WHO, "describe the voice"),
    HOW_MANY: ("count the words",),
}


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


def _openings(rows: Iterable[PairRow]) -> Iterator[Record]:
    for row in _of(rows, "empathy"):
        for side, reply in zip(("chosen", "rejected"), replies(row), strict=True):
            yield record(f"{row.id}:{side}", asked(row), reply)


def _paces(rows: Iterable[PairRow]) -> Iterator[Record]:
    for row in _of(rows, "instruction"):
        paces = sorted(PACES, key=lambda pace: PACES[pace] != row.instruction)  # the pace that was asked for first
        for pace, reply in zip(paces, replies(row), strict=True):
            yield record(f"{row.id}:{pace}", Message("user", READ.format(pace, reply.text)), reply)


def _understood(instruction: str, rows: Iterable[PairRow]) -> Iterator[Record]:
    phrases = PHRASES[instruction]
    found = (row for row in _of(rows, "understanding") if row.instruction == instruction)
    return (_written(row, phrases[i // 2 % len(phrases)], row.chosen) for i, row in enumerate(found))


def _transcribed(task: str, rows: Iterable[PairRow]) -> Iterator[Record]:
    return (_written(row, TRANSCRIBE, row.question) for row in _of(rows, task))


def _of(rows: Iterable[PairRow], task: str) -> Iterator[PairRow]:
    return (row for row in rows if row.task == task)


def _written(row: PairRow, instruction: str, reply: str) -> Record:
    return record(f"{row.id}:{instruction}", asked(row, instruction), Message("assistant", reply))


CAPABILITIES: Final[Mapping[str, Callable[[Iterable[PairRow]], Iterator[Record]]]] = {
    "openings_spoken": _openings,
    "paces_spoken": _paces,
    "speakers": partial(_understood, WHO),
    "word_counts": partial(_understood, HOW_MANY),
    "noisy_asr": partial(_transcribed, "robustness"),
    "moods_asr": partial(_transcribed, "empathy"),
}
