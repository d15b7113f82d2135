"""The properties of a model that the LLM grid depends on."""

import dataclasses
from typing import Protocol

from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import UserAudio


class ModelGrid(Protocol):
    """The properties of a model that the grid depends on; `ModelConfig` provides them.

    Attributes:
      group_size: G, the number of speech tokens of an LLM position.
      delay_groups: number of groups of speech bos before a spoken reply.
      vocab_size: number of text ids.
      units: number of codec ids; special speech ids start there.
      special: special ids of text and speech.
      n_window: half the number of mel frames of an encoder window.
      user_audio: what the LLM hears of a user's audio.
    """

    @property
    def group_size(self) -> int: ...
    @property
    def delay_groups(self) -> int: ...
    @property
    def vocab_size(self) -> int: ...
    @property
    def units(self) -> int: ...
    @property
    def special(self) -> SpecialIds: ...
    @property
    def n_window(self) -> int: ...
    @property
    def user_audio(self) -> UserAudio: ...


@dataclasses.dataclass(frozen=True)
class Grid:
    """A `ModelGrid` without a model; the defaults are those of the release."""

    vocab_size: int
    units: int
    special: SpecialIds
    group_size: int = 5
    delay_groups: int = 2
    n_window: int = 100
    user_audio: UserAudio = "waveform"
