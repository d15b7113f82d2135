"""What calls are made of: what the user says and what the assistant replies, each as a wave of its own."""

import dataclasses
import functools

import numpy as np
from jaxtyping import Float32

from fac_jax.audio.mel import RATE
from fac_jax.codec.base import TOKEN_RATE
from fac_jax.duplex.call import GROUP
from fac_jax.evaluation.benchmarks.duplex.voice_activity import levels

SILENT_BELOW = -40.0  # dB below the loudest frame, as espeak's clips are trimmed
FRAME = 160  # samples over which a level is taken, 10 ms


@dataclasses.dataclass(frozen=True, eq=False)
class Said:
    """Words and their wave, float32 at 16 kHz without silence at its ends."""

    text: str
    wave: Float32[np.ndarray, " N"]

    def __len__(self) -> int:
        """Returns the number of samples."""
        return len(self.wave)


@dataclasses.dataclass(frozen=True, eq=False)
class Utterance:
    """What the user says in one go.

    Attributes:
      whole: said without a pause.
      parts: the same words in two or more parts, between which a pause may lie, and before the last of which the
        sentence is unfinished; empty where it cannot be divided.
    """

    whole: Said
    parts: tuple[Said, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Reply:
    """What the assistant says.

    Attributes:
      text: the words.
      wave: float32 at 16 kHz, with the silence after them; codec ids are made of all of it.
    """

    text: str
    wave: Float32[np.ndarray, " N"]

    @property
    def groups(self) -> int:
        """Returns the number of groups of codec ids, which are the slots in which it is heard."""
        return -(-(len(self.wave) * TOKEN_RATE // RATE) // GROUP)

    @functools.cached_property
    def spoken(self) -> int:
        """Returns the samples until the last word ends."""
        level = levels(self.wave, FRAME)
        return int(np.flatnonzero(level > level.max() + SILENT_BELOW)[-1] + 1) * FRAME


@dataclasses.dataclass(frozen=True, eq=False)
class Exchange:
    """A question and its reply."""

    asked: Utterance
    reply: Reply


@dataclasses.dataclass(frozen=True, eq=False)
class Extras:
    """Short pieces that events are made of; an event of which there is no piece does not happen.

    Attributes:
      backchannels: of the user, at most 0.8 s.
      commands: of the user: "stop".
      thanks: of the user, which need no answer.
      side_talk: other voices.
      greetings: of the assistant.
      asked_back: of the assistant, to a question that stays unfinished: "yes?".
      acknowledgements: of the assistant, one word: "okay".
      assistant_backchannels: of the assistant.
    """

    backchannels: tuple[Said, ...] = ()
    commands: tuple[Said, ...] = ()
    thanks: tuple[Said, ...] = ()
    side_talk: tuple[Said, ...] = ()
    greetings: tuple[Reply, ...] = ()
    asked_back: tuple[Reply, ...] = ()
    acknowledgements: tuple[Reply, ...] = ()
    assistant_backchannels: tuple[Reply, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Dialogue:
    """A half-duplex dialogue.

    Attributes:
      id: decides, with a seed, every draw of the call.
      exchanges: in order.
      side: questions that have nothing to do with it, with which the user may interrupt; without any, the user
        interrupts with the next question of the dialogue.
      extras: what events are made of.
    """

    id: str
    exchanges: tuple[Exchange, ...]
    side: tuple[Exchange, ...] = ()
    extras: Extras = Extras()
