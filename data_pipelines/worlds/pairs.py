"""Preference pairs of the toy world as conversations and as examples."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.worlds.schema import PairRow
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.batching.model_grid import ModelGrid
from fac_jax.batching.pairs import Pair, PairExample, encode_conversation_pairs
from fac_jax.codec.base import Codec
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.tokenizer import Tokenizer


def pair_conversations(row: PairRow) -> tuple[Conversation, Conversation]:
    """A row as two conversations, with the better and with the worse reply."""
    user = Turn("user", row.instruction, wave=row.user_audio)

    def converse(side: str, text: str, wave: np.ndarray | None) -> Conversation:
        system = SYSTEM_TEXT if wave is None else SYSTEM_JOINT
        return Conversation(f"{row.id}:{side}", system, (user, Turn("assistant", text, wave=wave)))

    return converse("chosen", row.chosen, row.chosen_audio), converse("rejected", row.rejected, row.rejected_audio)


def encode_pairs(rows: Sequence[PairRow], tokenizer: Tokenizer, model: ModelGrid, codec: Codec) -> list[PairExample]:
    """Rows of one question each as pairs of examples, in their order.

    Raises:
      InputError: a task that does not exist, or a row that does not fit (`grid.encode`); names it.
    """
    pairs = [Pair(row.id, row.task, *pair_conversations(row)) for row in rows]
    return encode_conversation_pairs(pairs, tokenizer, model, codec)
