"""The properties of a model that the LLM grid depends on."""

import dataclasses
from typing import Protocol

from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import UserAudio


class EncoderGrid(Protocol):
    """The properties of an audio encoder that the grid depends on; `EncoderConfig` provides them."""

    @property
    def n_window(self) -> int:
        """Returns half the number of mel frames of a window."""
        ...


class ModelGrid(Protocol):
    """The properties of a model that the grid depends on; `ModelConfig` provides them."""

    @property
    def group_size(self) -> int:
        """Returns G, the number of speech tokens of an LLM position."""
        ...

    @property
    def delay_groups(self) -> int:
        """Returns the number of groups of speech bos before a spoken reply."""
        ...

    @property
    def vocab_size(self) -> int:
        """Returns the number of text ids."""
        ...

    @property
    def units(self) -> int:
        """Returns the number of codec ids; special speech ids start there."""
        ...

    @property
    def special(self) -> SpecialIds:
        """Returns the special ids of text and speech."""
        ...

    @property
    def audio(self) -> EncoderGrid:
        """Returns the grid of the audio encoder."""
        ...

    @property
    def user_audio(self) -> UserAudio:
        """Returns what the LLM hears of a user's audio."""
        ...


@dataclasses.dataclass(frozen=True)
class Windows:
    """An `EncoderGrid` without an encoder; the default is that of the release."""

    n_window: int = 100


@dataclasses.dataclass(frozen=True)
class Grid:
    """A `ModelGrid` without a model; the defaults are those of the release."""

    vocab_size: int
    units: int
    special: SpecialIds
    group_size: int = 5
    delay_groups: int = 2
    audio: Windows = Windows()
    user_audio: UserAudio = "waveform"
