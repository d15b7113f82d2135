"""The workloads of benchmarks: random conversations of given lengths, packed without padding."""

import dataclasses
from typing import Literal

import numpy as np

from fac_jax.batching.pairs import rows_in_turn
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import empty_batch
from fac_jax.types import NO_TEXT, Batch, Kind, PreferenceBatch

UNIT_RATE = 25  # Hz


@dataclasses.dataclass(frozen=True)
class Conversation:
    """Lengths of the parts of a conversation in LLM positions: text, then user audio, then a spoken reply."""

    text: int
    heard: int
    spoken: int

    def read(self) -> "Conversation":
        """Returns the conversation with all its audio in the reply to a text."""
        return Conversation(self.text, 0, self.heard + self.spoken)

    def longer(self, times: int) -> "Conversation":
        """Returns the conversation with `times` as much audio."""
        return Conversation(self.text, times * self.heard, times * self.spoken)

    def ungrouped(self, group: int) -> "Conversation":
        """Returns the conversation with the same audio at one speech token per LLM position instead of `group`."""
        return Conversation(self.text, self.heard * group, self.spoken * group)


@dataclasses.dataclass(frozen=True)
class Utilisation:
    """A training step that fills an accelerator.

    Attributes:
      rows: rows of a batch.
      packed: conversations in a row.
      conversation: lengths of each conversation.
      moments: dtype of the optimizer's moments.
    """

    rows: int
    packed: int
    conversation: Conversation
    moments: Literal["float32", "bfloat16"] = "float32"


@dataclasses.dataclass(frozen=True)
class Workload:
    """The measurements of a preset.

    Attributes:
      rows: rows of a training batch; `packed` and `conversation` are those of `Utilisation`.
      updates: training steps, of which the fastest counts (the median for ratios).
      batches: numbers of questions answered together, one measurement for each.
      steps: text ids of a response.
      responses: responses, of which the median counts.
      utilisation: the step whose utilisation is measured.
    """

    rows: int
    packed: int
    conversation: Conversation
    updates: int
    batches: tuple[int, ...] = (1, 4)
    steps: int = 60
    responses: int = 9
    utilisation: Utilisation = Utilisation(rows=4, packed=16, conversation=Conversation(19, 45, 64))


QUESTION = Conversation(text=19, heard=40, spoken=0)
WORKLOADS = {
    "tiny": Workload(
        rows=24,
        packed=1,
        conversation=Conversation(12, 12, 24),
        updates=5,
        utilisation=Utilisation(rows=24, packed=1, conversation=Conversation(12, 12, 24)),
    ),
    "base": Workload(rows=2, packed=2, conversation=Conversation(19, 45, 64), updates=3),
    "8b": Workload(
        rows=1,
        packed=6,
        conversation=Conversation(40, 150, 150),
        updates=5,
        batches=(1, 16),
        utilisation=Utilisation(rows=2, packed=6, conversation=Conversation(40, 150, 150), moments="bfloat16"),
    ),
}


def packed_batch(config: ModelConfig, rows: int, packed: int, one: Conversation) -> Batch:
    """Returns a batch with `packed` random conversations as segments of every row, without padding."""
    rng = np.random.default_rng(0)
    group, length = config.group_size, one.text + one.heard + one.spoken
    windows = -(-one.heard * group // config.audio.frames)
    batch = empty_batch(config, rows, packed * length, rows * packed * windows)
    kind = np.repeat([Kind.TEXT, Kind.SPEECH, Kind.JOINT], [one.text, one.heard, one.spoken])
    batch.kind[:] = np.tile(kind, packed)
    batch.segment_ids[:] = np.repeat(np.arange(1, packed + 1), length)
    batch.positions[:] = np.tile(np.arange(length), packed)
    heard, spoken = batch.kind == Kind.SPEECH, batch.kind == Kind.JOINT
    batch.text_ids[:] = np.where(heard, NO_TEXT, rng.integers(0, config.vocab_size, heard.shape))
    batch.has_waveform[:] = heard
    clips = np.arange(rows * packed)[:, None] * windows * config.audio.frames + np.arange(one.heard * group)
    batch.frame_index[heard] = clips.reshape(-1, group)
    batch.speech_ids[spoken] = rng.integers(0, config.units, (int(spoken.sum()), group))
    batch.labels[spoken], batch.speech_labels[spoken] = batch.text_ids[spoken], batch.speech_ids[spoken]
    batch.mel_windows[:] = rng.standard_normal(batch.mel_windows.shape)
    batch.mel_lengths[:] = config.audio.mel_frames
    return batch


def seconds_of_audio(config: ModelConfig, batch: Batch) -> float:
    """Returns the seconds of audio in a batch, of users and replies."""
    return int(np.sum(batch.kind != Kind.TEXT)) * config.group_size / UNIT_RATE


def preference_batch(chosen: Batch, config: ModelConfig, packed: int) -> PreferenceBatch:
    """Returns preference pairs of conversations and random replies to the same prompts, `packed` in each row."""
    rng, spoken = np.random.default_rng(1), chosen.kind == Kind.JOINT
    other = dataclasses.replace(
        chosen,
        text_ids=np.where(spoken, rng.integers(0, config.vocab_size, spoken.shape), chosen.text_ids),
        speech_ids=np.where(
            spoken[..., None], rng.integers(0, config.units, chosen.speech_ids.shape), chosen.speech_ids
        ),
    )
    other = dataclasses.replace(
        other,
        labels=np.where(spoken, other.text_ids, chosen.labels),
        speech_labels=np.where(spoken[..., None], other.speech_ids, chosen.speech_labels),
    )
    rows = len(chosen.kind)
    return PreferenceBatch(
        batch=rows_in_turn(chosen, other),
        tasks=np.zeros((rows, packed), np.int32),
        reference=np.zeros((2 * rows, packed, 2), np.float32),
    )
