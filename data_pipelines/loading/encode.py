"""Items made when they are needed: a user's row is decoded, changed, turned into features and laid on the grid."""

import dataclasses
import zlib
from typing import Final

import numpy as np

from data_pipelines.augment.wave import WaveAugmentConfig, augment_waves
from data_pipelines.records.audio import with_waves
from data_pipelines.records.call import to_call
from data_pipelines.records.record import Record, to_example
from data_pipelines.records.reject import RejectedError
from data_pipelines.records.timing import Timing
from fac_jax.audio.mel import host_log_mel
from fac_jax.batching.conversation import Conversation, Turn, prompt
from fac_jax.batching.feature_store import FeatureStore
from fac_jax.batching.features import add_features, as_heard, speech_tokens
from fac_jax.batching.grid import Example, ModelGrid, encode
from fac_jax.batching.pairs import Pair, PairExample, encode_conversation_pairs
from fac_jax.codec.base import Codec
from fac_jax.duplex.hearing import call_mels
from fac_jax.duplex.layout import lay_out
from fac_jax.models.config import ModelConfig
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError

BLOCKS: Final = 0.5  # share of the conversations that an encoder hears block by block if it hears calls so
LATE: Final = 0.1  # share of calls that begin at a later position, so that distances to the prompt are learnt
LATEST: Final = 30_000  # LLM positions, 100 minutes
SILENT: Final = np.zeros(0, np.int32)  # text ids of a turn without words


@dataclasses.dataclass(frozen=True, eq=False)
class Encode:
    """`sources.Source.make` of checked records (`validate`), with or without their audio decoded.

    Attributes:
      tokenizer: of the model.
      model: its grid and special ids.
      codec: of speech whose tokens the model needs and the rows do not bring; None where all do.
      waves: changes of what the user says, drawn by (seed, epoch, row); those that change length need room in the
        batches (`WaveAugmentConfig.longest`).
      seed: of these changes, and of which conversations are heard block by block.
      stored: features of what users say, by copy; `epoch` is the number of the copy then, and `waves` are not used.
    """

    tokenizer: Tokenizer
    model: ModelGrid
    codec: Codec | None = None
    waves: WaveAugmentConfig = WaveAugmentConfig()
    seed: int = 0
    stored: tuple[FeatureStore, ...] = ()

    def __call__(self, record: Record, epoch: int) -> Example | PairExample:
        """The item of a record.

        Raises:
          InputError: an audio cannot be read, or the row does not fit; names it.
        """
        decoded = _with_waves(record)
        if decoded.timing is not None:
            return self._call(decoded, decoded.timing, epoch)
        found = to_example(decoded)
        if isinstance(found, Conversation):
            heard = [self._heard(found, record.id, epoch)]
            (filled,) = add_features(heard, self.codec, self.model)
            example = encode(filled, self.tokenizer, self.model)
            return dataclasses.replace(example, blocks=self.model.blocks and self._draws_blocks(record.id, epoch))
        chosen, rejected = (self._heard(side, record.id, epoch) for side in (found.chosen, found.rejected))
        pair = Pair(found.id, found.task, chosen, rejected)
        return encode_conversation_pairs([pair], self.tokenizer, self.model, self.codec)[0]

    def _draws_blocks(self, row: str, epoch: int) -> bool:
        names = (zlib.crc32(row.encode()), zlib.crc32(b"blocks"))
        return np.random.default_rng((self.seed, epoch, *names)).random() < BLOCKS

    def _call(self, record: Record, timing: Timing, epoch: int) -> Example:
        """The item of a call, whose channel is not changed: what a microphone adds was added when it was made."""
        model = self.model
        if not isinstance(model, ModelConfig) or model.duplex is None:
            raise InputError(f"row {record.id} is a call, which a model without `duplex` cannot take part in")
        call = to_call(record, timing, self.tokenizer, model)
        if not model.duplex.texts:
            call = dataclasses.replace(
                call, turns=tuple(dataclasses.replace(turn, text_ids=SILENT) for turn in call.turns)
            )
        heard = (self.stored[epoch].of(call.user),) if self.stored else call_mels(call.user, model)
        rng = np.random.default_rng((self.seed, epoch, zlib.crc32(record.id.encode())))
        offset = int(rng.integers(1, LATEST + 1)) if rng.random() < LATE else 0
        return lay_out(call, heard, self.tokenizer, model, model.duplex.sinks, offset)

    def _heard(self, conversation: Conversation, row: str, epoch: int) -> Conversation:
        if self.stored:
            # A wave that is heard as it is keeps its speech ids, as without a store.
            plain = epoch == 0 and self.model.front_end == "plain"
            turns = tuple(_with_stored(turn, self.stored[epoch], plain) for turn in conversation.turns)
            return dataclasses.replace(conversation, turns=turns)
        changed = augment_waves(conversation, self.waves, self.seed, epoch, row)
        return dataclasses.replace(changed, turns=tuple(self._with_mel(row, turn) for turn in changed.turns))

    def _with_mel(self, row: str, turn: Turn) -> Turn:
        if turn.role != "user" or turn.wave is None or self.model.user_audio == "tokens":
            return turn
        turn = as_heard(turn, self.model)
        assert turn.wave is not None
        speech_tokens(row, turn)  # nothing shorter has a mel
        return dataclasses.replace(turn, mel=host_log_mel(turn.wave, self.model.mel_bins))


def user_waves(record: Record) -> list[np.ndarray]:
    """Returns the waves that users say in a record, float32 `[N]` at 16 kHz, those of a pair's prompt once.

    That of a call is the user's whole channel.

    Raises:
      InputError: an audio cannot be read; names the row.
    """
    decoded = _with_waves(record)
    if decoded.timing is not None:
        channel = decoded.messages[0].audio
        return [] if channel is None or channel.wave is None else [channel.wave]
    found = to_example(decoded)
    turns = found.turns if isinstance(found, Conversation) else prompt(found.chosen).turns
    return [turn.wave for turn in turns if turn.role == "user" and turn.wave is not None]


def _with_stored(turn: Turn, store: FeatureStore, plain: bool) -> Turn:
    if turn.role != "user" or turn.wave is None:
        return turn
    return dataclasses.replace(turn, mel=store.of(turn.wave), speech=turn.speech if plain else None)


def _with_waves(record: Record) -> Record:
    try:
        return with_waves(record)
    except RejectedError as refused:
        where = f"{record.file}:{record.line}"
        raise InputError(
            f"row {record.id} ({where}): {refused}; run data_pipelines.check and leave out what it refuses"
        ) from None
