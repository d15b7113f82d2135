"""Conversations: what is heard and said, turn by turn."""

import dataclasses
from typing import Literal, TypeAlias

import numpy as np

from fac_jax.text.prompts import Role

Learns: TypeAlias = Literal["both", "text", "speech"]


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
    """One message.

    Attributes:
      role: who speaks.
      text: a user's words, or the instruction beside a user's audio; a reply's text, also where it is spoken.
      wave: float32 `[N]` at 16 kHz, None for a turn that is only text.
      speech: int32 `[T]` codec ids at 25 Hz of `wave`, None where they are not known or not needed.
      mel: float32 `[M, 128]` log-mel at 100 Hz of a user's `wave`, None where it is not computed yet.
      learns: streams of a spoken reply that are learnt; "text" lays the text beside silence, which is not learnt.
      lead: a user's words before the user's audio.
    """

    role: Role
    text: str = ""
    wave: np.ndarray | None = None
    speech: np.ndarray | None = None
    mel: np.ndarray | None = None
    learns: Learns = "both"
    lead: str = ""

    @property
    def silent(self) -> bool:
        """Whether the text lies beside silence."""
        return self.learns == "text"


@dataclasses.dataclass(frozen=True, eq=False)
class Conversation:
    """What one example is made of.

    Attributes:
      id: names the row in every message.
      system: system prompt, which names the mode.
      turns: the messages.
    """

    id: str
    system: str
    turns: tuple[Turn, ...]


def prompt(conversation: Conversation) -> Conversation:
    """The conversation without its last turn, which is to be generated."""
    return dataclasses.replace(conversation, turns=conversation.turns[:-1])
