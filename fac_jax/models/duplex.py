"""Configuration of a full-duplex model, which listens while it talks (docs/duplex.md)."""

import dataclasses
from typing import Literal, TypeAlias

Stream: TypeAlias = Literal["slide", "block"]


@dataclasses.dataclass(frozen=True)
class DuplexConfig:
    """What a full-duplex model is trained with, and how it decides in a call.

    A slot is one LLM position of a call, 200 ms at five speech tokens a position.

    Attributes:
      sinks: LLM positions of the prompt, which every later position sees; slot 0 of a call has this position or a
        later one, and a prompt ends right before position `sinks`.
      loudest_floor: least loudness that a log-mel is brought to, log10 of mel power: the fifth percentile of the
        greatest powers of the clips that the model is trained on (`duplex.ears.quiet_maximum`).
      window: LLM positions that a position sees, its own included, besides the sinks.
      head_window: the same for the refined head, counted in LLM positions.
      stream: how the audio encoder hears a call: "slide" encodes the trailing window of every slot, "block" every slot
        once, with the keys of the slots before it (`duplex/ears.py`).
      texts: whether turns that are trained on have their words on the text stream; without them speech has to be
        learnt with a silent one, which is an ablation.
      idle_weight: weight of the loss of `sil` in idle slots.
      turn_weight: weight of the loss of `audio_bos` and `audio_eos`.
      edge_weight: weight of the loss of the first group of a turn that is heard, and of its group of eos.
      start_bias: added to the logit of `audio_bos` in idle slots, after the correction for the weights.
      stop_bias: added to the logit of `audio_eos` in turns, after the correction for the weights.
      masks: whether only the ids that a slot allows are picked; without it nothing is corrected, and the refined head
        ends turns by itself, as in half-duplex.
    """

    sinks: int
    loudest_floor: float
    window: int = 1024
    head_window: int = 256
    stream: Stream = "slide"
    texts: bool = True
    idle_weight: float = 0.3
    turn_weight: float = 5.0
    edge_weight: float = 2.0
    start_bias: float = 0.0
    stop_bias: float = 0.0
    masks: bool = True
