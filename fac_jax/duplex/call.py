"""One live conversation on a clock of slots: what the user says, the assistant's turns, and the events between them.

A slot takes 200 ms and one LLM position. A turn of the assistant takes the slots `opening .. closing`:

    opening             `audio_bos`
    delay_groups slots  the first text ids over groups of speech bos; nothing is audible yet
    one slot a group    text ids, then `sil`; the group is heard in its slot
    closing             `audio_eos`

All other slots are idle: the assistant listens.
"""

import dataclasses
import enum
from typing import Final

import numpy as np
from jaxtyping import Float32, Int32

from fac_jax.audio.mel import HOP, RATE
from fac_jax.codec.base import TOKEN_RATE

GROUP: Final = 5  # 25 Hz tokens of a slot
SLOT: Final = RATE * GROUP // TOKEN_RATE  # samples of a slot
SLOT_FRAMES: Final = SLOT // HOP  # log-mel frames of a slot
SLOT_SECONDS: Final = SLOT / RATE


class EventKind(enum.StrEnum):
    """What happens in a call; docs/duplex.md describes each kind, and what the assistant does then."""

    SPEECH = "speech"  # the user says something that is answered; a stretch without a pause
    RESPONSE_GAP = "response_gap"
    USER_GAP = "user_gap"
    PAUSE = "pause"
    UNFINISHED = "unfinished"
    RESUMED = "resumed"
    INTERRUPTION = "interruption"
    STOP = "stop"  # an interruption by a command that asks for silence
    BACKCHANNEL = "backchannel"
    NOISE = "noise"
    SIDE_TALK = "side_talk"
    ASSISTANT_BACKCHANNEL = "assistant_backchannel"
    GREETING = "greeting"
    NOTHING_TO_ANSWER = "nothing_to_answer"
    SILENCE = "silence"
    NOISE_ONLY = "noise_only"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that happens in a call.

    Attributes:
      kind: what it is.
      onset: its first sample, at 16 kHz from the start of the call.
      end: the sample after its last one.
      text: words that are said in it; "" for none.
      turn: number of the assistant's turn that it concerns: the one that answers it, is cut by it, goes on under it, or
        says it; None for none.
    """

    kind: EventKind
    onset: int
    end: int
    text: str = ""
    turn: int | None = None

    @property
    def slot(self) -> int:
        """Returns the slot in which it begins."""
        return self.onset // SLOT


@dataclasses.dataclass(frozen=True, eq=False)
class Turn:
    """A turn of the assistant as it was played.

    Attributes:
      opening: slot of `audio_bos`.
      closing: slot of `audio_eos`; the number of slots of the call if it ends before the turn.
      text_ids: text ids from the slot after the opening on, without the `sil` that fills the other slots.
      groups: codec ids that are heard, the last group filled with speech pad.
      cut: whether the reply ends here before its end, because the user interrupts it or goes on.
    """

    opening: int
    closing: int
    text_ids: Int32[np.ndarray, " n"]
    groups: Int32[np.ndarray, "g G"]
    cut: bool = False

    @property
    def audible(self) -> int:
        """Returns the first slot in which the turn is heard; `closing` for a turn that never is."""
        return self.closing - len(self.groups)


@dataclasses.dataclass(frozen=True, eq=False)
class Call:
    """A call from its first slot to its last.

    Attributes:
      id: names the row in every message.
      system: system prompt, which names the mode.
      slots: how long the call is.
      user: the user's channel at 16 kHz, `slots * SLOT` samples.
      turns: the assistant's, in order.
      events: in the order of their onsets.
    """

    id: str
    system: str
    slots: int
    user: Float32[np.ndarray, " N"]
    turns: tuple[Turn, ...] = ()
    events: tuple[Event, ...] = ()
