"""The special ids. They come from a tokenizer or from the config of a checkpoint, never from constants."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class SpecialIds:
    """Ids with a special meaning for the model.

    Attributes:
      pad: text padding.
      eos: end of a turn of text (`<|im_end|>`).
      audio: placeholder of one audio group (`<|AUDIO|>`).
      audio_bos: start of an audio (`<|audio_bos|>`).
      audio_eos: end of an audio (`<|audio_eos|>`).
      sil: silence, the text stream of a spoken reply after the end of its text (`<|sil|>`).
      speech_bos: start of speech; fills the first `delay_groups` groups of a spoken reply.
      speech_eos: end of speech.
      speech_pad: fills a group after the last speech token, and every position without speech.
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
    """Returns the special speech ids by name: bos, eos, unk and pad follow the `units` ids of the codec."""
    return {name: units + i for i, name in enumerate(SPEECH_SPECIALS)}


IM_START: str = "<|im_start|>"  # starts every turn; only the template writes it

TEXT_SPECIALS: dict[str, str] = {
    "pad": "<|endoftext|>",
    "eos": "<|im_end|>",
    "audio": "<|AUDIO|>",
    "audio_bos": "<|audio_bos|>",
    "audio_eos": "<|audio_eos|>",
    "sil": "<|sil|>",
}
"""Field of `SpecialIds` to its token in a tokenizer."""
