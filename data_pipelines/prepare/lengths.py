"""LLM positions and encoder windows of the rows of a prepared split, computed without decoding audio."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.augment.wave import WaveAugmentConfig
from data_pipelines.prepare import flac
from data_pipelines.prepare.reading import read_prepared
from data_pipelines.records.record import Record, sides
from data_pipelines.records.reject import Reason, Rejected, RejectedError, entry
from data_pipelines.records.validate import Limits, checked
from fac_jax.audio.mel import RATE, mel_frames
from fac_jax.batching.conversation import Turn
from fac_jax.batching.grid import ModelGrid
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.duplex.call import SLOT_FRAMES
from fac_jax.io import replacing
from fac_jax.progress import shown
from fac_jax.types import InputError

ARRAYS = ("length", "windows", "pair")
UNCHANGED = WaveAugmentConfig()


@dataclasses.dataclass(frozen=True, eq=False)
class Lengths:
    """Lengths of the R rows of a split, in order.

    Attributes:
      length: int32 `[R]`, LLM positions, with the longer reply of a pair; 0 for a row that the model cannot take.
      windows: int32 `[R]`, encoder windows.
      pair: bool `[R]`, true for a preference pair.
      refused: rows that the model cannot take, as lines of a quarantine.
    """

    length: np.ndarray
    windows: np.ndarray
    pair: np.ndarray
    refused: Sequence[dict[str, Any]]

    def save(self, file: Path) -> None:
        """Writes a file that `load` reads; the file appears complete."""
        with replacing(file) as part, part.open("wb") as out:
            np.savez(out, **{name: getattr(self, name) for name in ARRAYS}, refused=json.dumps(self.refused))

    @classmethod
    def load(cls, file: Path) -> "Lengths":
        """Reads the file that `save` wrote."""
        with np.load(file) as found:
            return cls(*(found[name] for name in ARRAYS), refused=json.loads(str(found["refused"])))


def survey(folder: Path, split: str, limits: Limits, model: ModelGrid, waves: WaveAugmentConfig = UNCHANGED) -> Lengths:
    """Measures all rows of a split, which are not decoded, for a model; the context of its limits is ignored.

    `waves` may lengthen user audio (`WaveAugmentConfig.longest`).

    Raises:
      InputError: as `read_prepared`; or the model hears tokens and a user's audio has none.
    """
    endless = dataclasses.replace(limits, context=np.iinfo(np.int32).max)
    rows = read_prepared(folder, split, flac.silence)
    lengths, refused = np.zeros((len(rows), 2), np.int32), []
    pair = np.zeros(len(rows), bool)
    for i in shown(f"measuring {split}")(range(len(rows))):
        record = rows[i]
        pair[i] = record.preference is not None
        try:
            lengths[i] = _needed(checked(record, endless), limits, model, waves)
        except RejectedError as error:
            refused.append(entry(Rejected(error.reason, error.detail, record.file, record.line, record.id)))
    return Lengths(lengths[:, 0], lengths[:, 1], pair, refused)


def _needed(record: Record, limits: Limits, model: ModelGrid, waves: WaveAugmentConfig) -> tuple[int, int]:
    if record.timing is not None:
        delay = record.timing.delay_groups
        if delay != model.delay_groups:
            detail = f"its turns have {delay} groups of delay, those of the model {model.delay_groups}"
            raise RejectedError(Reason.CALL, detail)
        return limits.positions_of(record), -(-record.timing.slots * SLOT_FRAMES // (2 * model.n_window))
    both = sides(record)
    if model.user_audio == "tokens":
        if any(turn.role == "user" and turn.wave is not None and turn.speech is None for turn in both[0].turns):
            raise InputError(
                f"row {record.id} ({record.file}:{record.line}): the user's audio has no tokens, which a model with "
                'user_audio "tokens" needs: prepare the rows with --user_audio=tokens'
            )
        return limits.longest(both), 0
    both = [dataclasses.replace(side, turns=tuple(_lengthened(turn, waves) for turn in side.turns)) for side in both]
    heard = [len(turn.wave) for turn in both[0].turns if turn.role == "user" and turn.wave is not None]
    return limits.longest(both), sum(-(-mel_frames(samples) // (2 * model.n_window)) for samples in heard)


def _lengthened(turn: Turn, waves: WaveAugmentConfig) -> Turn:
    """The turn with the longest wave that augmentation can make, in place of its tokens."""
    if turn.role != "user" or turn.wave is None:
        return turn
    tokens = 0 if turn.speech is None else len(turn.speech)
    samples = max(waves.longest(len(turn.wave)), tokens * RATE // TOKEN_RATE)
    longest = np.broadcast_to(np.float32(0), samples)
    return dataclasses.replace(turn, wave=longest, speech=None)
