"""Layouts of published checkpoints: how each of them names what the release's table (`names.py`) names.

Each is a list of regular expressions, tried in order. What a source holds beyond our model is named too, so that a
name nobody thought of is a fault and not a warning.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

Rule = tuple[str, str]  # full-match regular expression of the release's name -> the layout's own


@dataclasses.dataclass(frozen=True)
class Source:
    """A layout of torch names.

    Attributes:
      title: for messages.
      rules: how the release's names become its own; what matches none is not part of it.
      ignored: full-match expressions of names that our model has no use for.
    """

    title: str
    rules: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()

    def own_name(self, release_name: str) -> str | None:
        """The name of a tensor in this layout, None if it has no place in it."""
        for pattern, replacement in self.rules:
            match = re.fullmatch(pattern, release_name)
            if match:
                return match.expand(replacement)
        return None

    def is_ignored(self, name: str) -> bool:
        """Whether a tensor is known and not used."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)


LM_HEAD: Final = (r"language_model\.lm_head\.weight", r"lm_head.weight")
RELEASE: Final = Source("Fun-Audio-Chat", ((r"(.*)", r"\1"),))
QWEN3: Final = Source("Qwen3", ((r"language_model\.model\.(.*)", r"model.\1"), LM_HEAD))
QWEN3_VL: Final = Source(
    "Qwen3-VL",
    ((r"language_model\.model\.(.*)", r"model.language_model.\1"), LM_HEAD),
    ignored=(r"model\.visual\..*",),
)
TEXT_SOURCES: Final[Mapping[str, Source]] = {"qwen3": QWEN3, "qwen3_moe": QWEN3, "qwen3_vl": QWEN3_VL}  # by model_type
WHISPER: Final = Source(
    "Whisper",
    (
        (r"continuous_audio_tower\.ln_post\.(.*)", r"model.encoder.layer_norm.\1"),
        (r"continuous_audio_tower\.((?:conv[12]|layers)\..*)", r"model.encoder.\1"),
    ),
    # The sinusoidal table of positions is computed, not loaded.
    ignored=(r"model\.encoder\.embed_positions\.weight", r"model\.decoder\..*", r"proj_out\.weight"),
)
QWEN3_HEAD: Final = Source(
    "Qwen3 for the refined head",
    ((r"audio_invert_tower\.crq_transformer\.(.*)", r"model.\1"),),
    ignored=(r"model\.embed_tokens\.weight", r"lm_head\.weight"),
)
