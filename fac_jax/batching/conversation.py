"""Conversations, turn by turn."""

import dataclasses
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int, Int32

from fac_jax.audio.mel import mel_frames
from fac_jax.text.prompts import Role

Learns: TypeAlias = Literal["both", "text", "speech"]


@dataclasses.dataclass(frozen=True, eq=False)
class StoredFeatures:
    """The encoder's features of a user's wave, made before, in place of its log-mel; its length is that of the log-mel.

    Attributes:
      windows: F = `n_window // 2` frames of every window, of the encoder's width C; float16 from a disk.
      samples: of the wave as it was heard, at 16 kHz.
    """

    windows: Float[np.ndarray, "W F C"]
    samples: int

    def __len__(self) -> int:
        """Returns the number of log-mel frames (100 Hz) of the wave."""
        return mel_frames(self.samples)


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratedReply:
    """A reply as the model made it, id for id, in place of its text and its wave.

    Attributes:
      text_ids: its text ids, from the first to the eos.
      groups: its groups of speech ids in order, that of the eos included; none for a reply in text.
    """

    text_ids: Int32[np.ndarray, " n"]
    groups: Int32[np.ndarray, "c G"]


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
    """One message.

    Attributes:
      role: who speaks.
      text: text of a user, or the instruction next to a user's audio; text of a reply, also of a spoken one.
      wave: float32 at 16 kHz, None for a turn that is only text.
      speech: int32 codec ids of `wave` at 25 Hz; None where they are not known or not needed.
      mel: float32 log-mel of a user's `wave` at 100 Hz, or its stored features; None where it is not computed yet.
      learns: streams of a spoken reply that carry loss; "text" places the text next to silence, which carries none.
      lead: text of a user before the user's audio.
      generated: ids of a reply that the model made; then nothing else but `role` is read.
    """

    role: Role
    text: str = ""
    wave: Float[np.ndarray, " N"] | None = None
    speech: Int[np.ndarray, " T"] | None = None
    mel: Float[np.ndarray, "M bins"] | StoredFeatures | None = None
    learns: Learns = "both"
    lead: str = ""
    generated: GeneratedReply | None = None

    @property
    def silent(self) -> bool:
        """Returns whether the text is placed next to silence."""
        return self.learns == "text"


@dataclasses.dataclass(frozen=True, eq=False)
class Conversation:
    """A conversation, from which one example is made.

    Attributes:
      id: names the row in every message.
      system: system prompt, which names the mode.
    """

    id: str
    system: str
    turns: tuple[Turn, ...]


def prompt(conversation: Conversation) -> Conversation:
    """Returns the conversation without its last turn, which is to be generated."""
    return dataclasses.replace(conversation, turns=conversation.turns[:-1])
