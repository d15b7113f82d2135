"""The one place that knows special ids. They come from a tokenizer or a checkpoint's config, never from constants."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Ids that the model treats apart.

    Attributes:
      pad: text padding.
      eos: end of a turn of text (`<|im_end|>`).
      audio: placeholder of one audio group (`<|AUDIO|>`).
      audio_bos: start of an audio (`<|audio_bos|>`).
      audio_eos: end of an audio (`<|audio_eos|>`).
      sil: text stream of a spoken reply once its text has ended (`<|sil|>`).
      speech_bos: first ids of a spoken reply, `delay_groups` groups of them.
      speech_eos: end of speech.
      speech_pad: fills a group beyond the last speech token, and every position without speech.
    """

    pad: int
    eos: int
    audio: int
    audio_bos: int
    audio_eos: int
    sil: int
    speech_bos: int
    speech_eos: int
    speech_pad: int


SPEECH_SPECIALS: tuple[str, ...] = ("speech_bos", "speech_eos", "speech_unk", "speech_pad")


def speech_special_ids(units: int) -> dict[str, int]:
    """Ids of the speech specials, which follow the `units` codec ids: bos, eos, unk, pad (codebook = units + 4)."""
    return {name: units + i for i, name in enumerate(SPEECH_SPECIALS)}


IM_START: str = "<|im_start|>"  # opens every turn; the template alone writes it

TEXT_SPECIALS: dict[str, str] = {
    "pad": "<|endoftext|>",
    "eos": "<|im_end|>",
    "audio": "<|AUDIO|>",
    "audio_bos": "<|audio_bos|>",
    "audio_eos": "<|audio_eos|>",
    "sil": "<|sil|>",
}
"""Field of `SpecialIds` -> its token in a tokenizer."""
