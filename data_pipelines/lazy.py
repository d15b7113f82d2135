"""Items made when they are needed: a user's row is decoded, changed, turned into features and laid on the grid."""

import dataclasses
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from data_pipelines.audio_files import with_waves
from data_pipelines.conversation import Conversation, Turn
from data_pipelines.faults import Refused
from data_pipelines.features import add_features, speech_tokens
from data_pipelines.grid import Example, ModelGrid, encode
from data_pipelines.pairs import Pair, PairExample, encode_conversation_pairs
from data_pipelines.records import Record, to_example
from fac_jax.audio.host_mel import host_log_mel, wave_frames
from fac_jax.codec.base import Codec
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

# Of a user's wave, the epoch, the row's id and the number of the turn: the wave as it is heard this time.
Change: TypeAlias = Callable[[np.ndarray, int, str, int], np.ndarray]
FRONT_ENDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {"host": host_log_mel, "device": wave_frames}


@dataclasses.dataclass(frozen=True, eq=False)
class Encode:
    """`sources.Source.make` of checked records (`validate`), with or without their audio decoded.

    Attributes:
      tokenizer: of the model.
      model: its grid and special ids.
      codec: of spoken replies whose tokens the rows do not bring; None where all do.
      mel: "host" for examples with log-mels, "device" for waveform frames (`PackedConfig.mel`).
      change: of what the user says, by (epoch, row, turn); None leaves it as it is.
    """

    tokenizer: Tokenizer
    model: ModelGrid
    codec: Codec | None = None
    mel: Literal["host", "device"] = "host"
    change: Change | None = None

    def __call__(self, record: Record, epoch: int) -> Example | PairExample:
        """The item of a record.

        Raises:
          InputError: an audio cannot be read, or the row does not fit; names it.
        """
        try:
            found = to_example(with_waves(record))
        except Refused as refused:
            where = f"{record.file}:{record.line}"
            raise InputError(
                f"row {record.id} ({where}): {refused}; run data_pipelines.check and leave out what it refuses"
            ) from None
        if isinstance(found, Conversation):
            filled = add_features({"": [self._heard(found, record.id, epoch)]}, self.codec)[""][0]
            return encode(filled, self.tokenizer, self.model)
        chosen, rejected = (self._heard(side, record.id, epoch) for side in (found.chosen, found.rejected))
        pair = Pair(found.id, found.task, chosen, rejected)
        return encode_conversation_pairs([pair], self.tokenizer, self.model, self.codec)[0]

    def _heard(self, conversation: Conversation, row: str, epoch: int) -> Conversation:
        turns = [self._turn(turn, row, epoch, number) for number, turn in enumerate(conversation.turns)]
        return dataclasses.replace(conversation, turns=tuple(turns))

    def _turn(self, turn: Turn, row: str, epoch: int, number: int) -> Turn:
        if turn.role != "user" or turn.wave is None:
            return turn
        speech_tokens(row, turn)  # nothing shorter has a mel
        if self.change is None:
            return dataclasses.replace(turn, mel=FRONT_ENDS[self.mel](turn.wave))
        wave = self.change(turn.wave, epoch, row, number)
        return dataclasses.replace(turn, wave=wave, speech=None, mel=FRONT_ENDS[self.mel](wave))
