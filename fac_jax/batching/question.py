"""Questions to a model: a wave or a text, and the conversation that asks it."""

from typing import Final, Literal, TypeAlias

import numpy as np

from fac_jax.audio.io import RATES, resampled
from fac_jax.batching.conversation import Conversation, Turn
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.types import InputError

Mode: TypeAlias = Literal["s2s", "s2t", "t2s", "t2t"]
Question: TypeAlias = np.ndarray | str
MODES: Final = ("s2s", "s2t", "t2s", "t2t")


def mode_of(question: Question, mode: str | None) -> Mode:
    """Returns a mode that is known; that of the kind of question if none is given."""
    if mode is None:
        mode = "t2t" if isinstance(question, str) else "s2s"
    if mode not in MODES:
        raise InputError(f"unknown mode {mode!r}; known: {', '.join(MODES)}")
    return mode


def check_mode(row: str, question: Question, mode: Mode) -> None:
    """Checks that a question is of the kind that a mode takes.

    Raises:
      InputError: it is not; names the row.
    """
    if isinstance(question, str) and mode.startswith("s"):
        raise InputError(f"row {row}: mode {mode} hears a wave, not a text")
    if not isinstance(question, str) and mode.startswith("t"):
        raise InputError(f"row {row}: mode {mode} reads a text, not a wave")


def single_turn(
    row: str, question: Question, rate: int, mode: Mode, instruction: str, system: str | None
) -> Conversation:
    """Returns the conversation `row` of a system prompt and one question; arguments are those of `Model.respond`.

    Raises:
      InputError: the question does not suit the mode, or is no wave; names the row.
    """
    if system is None:
        system = SYSTEM_JOINT if mode.endswith("2s") else SYSTEM_TEXT
    check_mode(row, question, mode)
    if isinstance(question, str):
        if not question:
            raise InputError(f"row {row}: the text is empty")
        return Conversation(row, system, (Turn("user", question),))
    return Conversation(row, system, (Turn("user", instruction, wave=_checked(row, np.asarray(question), rate)),))


def _checked(row: str, wave: np.ndarray, rate: int) -> np.ndarray:
    """Returns a user's wave at the model's rate."""
    if wave.ndim != 1 or not np.issubdtype(wave.dtype, np.floating):
        shape = f"{wave.dtype} {list(wave.shape)}"
        raise InputError(f"row {row}: a wave is floats [N] between -1 and 1, one channel; this one is {shape}")
    if not np.isfinite(wave).all():
        raise InputError(f"row {row}: the wave holds samples that are not finite")
    if not RATES[0] <= rate <= RATES[1]:
        raise InputError(f"rate={rate}: give the sampling rate of the wave in Hz, {RATES[0]} to {RATES[1]}")
    return resampled(wave, rate)
