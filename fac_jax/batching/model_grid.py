"""What laying conversations on the LLM grid needs to know of a model, and the same without a model."""

import dataclasses
from typing import Protocol

from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import UserAudio


class EncoderGrid(Protocol):
    """What the grid needs to know of the audio encoder; `EncoderConfig` has it."""

    @property
    def n_window(self) -> int:
        """Half the mel frames of a window."""
        ...


class ModelGrid(Protocol):
    """What the grid needs to know of the model; `ModelConfig` has it."""

    @property
    def group_size(self) -> int:
        """G speech tokens a LLM position."""
        ...

    @property
    def delay_groups(self) -> int:
        """Groups of speech bos before a reply."""
        ...

    @property
    def vocab_size(self) -> int:
        """Text ids."""
        ...

    @property
    def units(self) -> int:
        """Codec ids, which are below every speech special."""
        ...

    @property
    def special(self) -> SpecialIds:
        """Special ids of text and speech."""
        ...

    @property
    def audio(self) -> EncoderGrid:
        """The audio encoder."""
        ...

    @property
    def user_audio(self) -> UserAudio:
        """What is heard of a user's audio."""
        ...


@dataclasses.dataclass(frozen=True)
class Windows:
    """An `EncoderGrid` without an encoder, the release's if not said otherwise."""

    n_window: int = 100


@dataclasses.dataclass(frozen=True)
class Grid:
    """A `ModelGrid` without a model, the release's if not said otherwise."""

    vocab_size: int
    units: int
    special: SpecialIds
    group_size: int = 5
    delay_groups: int = 2
    audio: Windows = Windows()
    user_audio: UserAudio = "waveform"
