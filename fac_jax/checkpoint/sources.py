"""Layouts of published checkpoints: how each of them names what the release's table (`names.py`) names.

Each is a list of regular expressions, tried in order. What a source holds beyond our model is named too, so that a
name nobody thought of is a fault and not a warning.
"""

import dataclasses
import re
from collections.abc import Iterable
from typing import Final

Rule = tuple[str, str]  # full-match regular expression of a name -> the release's name


@dataclasses.dataclass(frozen=True)
class Source:
    """A layout of torch names.

    Attributes:
      title: for messages.
      rules: how its names become the release's.
      ignored: full-match expressions of names that our model has no use for.
      back: how the release's names become its own; what matches none is not part of it.
    """

    title: str
    rules: tuple[Rule, ...]
    back: tuple[Rule, ...]
    ignored: tuple[str, ...] = ()

    def release_name(self, name: str) -> str | None:
        """The release's name of a tensor; None if it is ignored or unknown (`is_ignored` tells which)."""
        return _first(self.rules, name)

    def own_name(self, release_name: str) -> str | None:
        """The name of a tensor in this layout, None if it has no place in it."""
        return _first(self.back, release_name)

    def is_ignored(self, name: str) -> bool:
        """Whether a tensor is known and not used."""
        return any(re.fullmatch(pattern, name) for pattern in self.ignored)


def _first(rules: Iterable[Rule], name: str) -> str | None:
    for pattern, replacement in rules:
        match = re.fullmatch(pattern, name)
        if match:
            return match.expand(replacement)
    return None


RELEASE: Final = Source("Fun-Audio-Chat", ((r"(.*)", r"\1"),), ((r"(.*)", r"\1"),))
QWEN3: Final = Source(
    "Qwen3",
    rules=((r"model\.(.*)", r"language_model.model.\1"), (r"lm_head\.weight", r"language_model.lm_head.weight")),
    back=((r"language_model\.model\.(.*)", r"model.\1"), (r"language_model\.lm_head\.weight", r"lm_head.weight")),
)
QWEN3_VL: Final = Source(
    "Qwen3-VL",
    rules=(
        (r"model\.language_model\.(.*)", r"language_model.model.\1"),
        (r"lm_head\.weight", r"language_model.lm_head.weight"),
    ),
    back=(
        (r"language_model\.model\.(.*)", r"model.language_model.\1"),
        (r"language_model\.lm_head\.weight", r"lm_head.weight"),
    ),
    ignored=(r"model\.visual\..*",),
)
WHISPER: Final = Source(
    "Whisper",
    rules=(
        (r"model\.encoder\.layer_norm\.(.*)", r"continuous_audio_tower.ln_post.\1"),
        (r"model\.encoder\.((?:conv[12]|layers)\..*)", r"continuous_audio_tower.\1"),
    ),
    back=(
        (r"continuous_audio_tower\.ln_post\.(.*)", r"model.encoder.layer_norm.\1"),
        (r"continuous_audio_tower\.((?:conv[12]|layers)\..*)", r"model.encoder.\1"),
    ),
    # The sinusoidal table of positions is computed, not loaded.
    ignored=(r"model\.encoder\.embed_positions\.weight", r"model\.decoder\..*", r"proj_out\.weight"),
)
QWEN3_HEAD: Final = Source(
    "Qwen3 for the refined head",
    rules=((r"model\.((?:layers\..*)|norm\.weight)", r"audio_invert_tower.crq_transformer.\1"),),
    back=((r"audio_invert_tower\.crq_transformer\.(.*)", r"model.\1"),),
    ignored=(r"model\.embed_tokens\.weight", r"lm_head\.weight"),
)
