"""Frozen configuration of the model and its presets. A ConfigDict becomes one of these once, in the launcher."""

import dataclasses
import typing
from typing import Any, Literal

from fac_jax.layers.stack import Remat
from fac_jax.models.duplex import DuplexConfig
from fac_jax.text.special_ids import SpecialIds
from fac_jax.types import FrontEnd, UserAudio


@dataclasses.dataclass(frozen=True)
class MoEConfig:
    """Mixture of experts (docs/model.md, section 5).

    Attributes:
      num_experts: E.
      top_k: experts a token is sent to.
      expert_width: hidden width of one SwiGLU expert.
      normalize_top_k: renormalise the picked probabilities.
      dense_layers: layers that keep a dense MLP (`mlp_only_layers`).
      sparse_step: a layer i is sparse only if (i + 1) % sparse_step == 0.
      aux_loss_coef: weight of the load-balancing loss; 0 leaves it out.
    """

    num_experts: int
    top_k: int
    expert_width: int
    normalize_top_k: bool = True
    dense_layers: tuple[int, ...] = ()
    sparse_step: int = 1
    aux_loss_coef: float = 0.0


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """A Qwen3 decoder: the Shared LLM, or the headless transformer of the refined head (docs/model.md, sections 5, 6).

    A refined head of depth 0 has no layers: it predicts a token from its piece of the LLM state and the token before.
    """

    width: int
    depth: int
    mlp_width: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope_theta: float = 1e6
    norm_eps: float = 1e-6
    moe: MoEConfig | None = None

    def is_sparse(self, layer: int) -> bool:
        """Whether decoder layer `layer` has experts."""
        moe = self.moe
        return moe is not None and layer not in moe.dense_layers and (layer + 1) % moe.sparse_step == 0

    def runs(self) -> tuple[tuple[int, int], ...]:
        """(start, length) of the maximal runs of layers of one kind, each of which is one scanned stack."""
        starts = [i for i in range(self.depth) if i == 0 or self.is_sparse(i) != self.is_sparse(i - 1)]
        ends = [*starts[1:], self.depth] if starts else []
        return tuple((a, b - a) for a, b in zip(starts, ends, strict=True))


@dataclasses.dataclass(frozen=True)
class EncoderConfig:
    """The windowed continuous audio encoder (docs/model.md, section 2). A window is `2 * n_window` mel frames.

    Attributes:
      positions: the table of positions is "computed" sinusoids (the release), or "stored" with the parameters, as
        Whisper does, whose files hold it rounded.
    """

    width: int
    depth: int
    num_heads: int
    mlp_width: int
    n_window: int = 100
    mel_bins: int = 128
    positions: Literal["computed", "stored"] = "computed"

    def __post_init__(self) -> None:
        if self.positions not in ("computed", "stored"):
            raise ValueError(f"audio.positions is {self.positions!r}; known: computed, stored")
        if self.n_window % 2:
            raise ValueError(
                f"n_window must be even, so that pairs pooled to 25 Hz stay in their window: {self.n_window}"
            )

    @property
    def mel_frames(self) -> int:
        """Mel frames (100 Hz) of one window."""
        return 2 * self.n_window

    @property
    def frames(self) -> int:
        """Encoder frames (25 Hz) of one full window."""
        return self.n_window // 2


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Fun-Audio-Chat.

    Attributes:
      text: the Shared LLM.
      audio: the continuous audio encoder.
      head: the refined head's own transformer.
      vocab_size: V.
      codebook_size: C, specials included.
      special: special ids of text and speech.
      tie_embeddings: the text head is the text embedding.
      group_size: G speech tokens a LLM position (25 / G Hz).
      grouping: "mean" (the release) or "concat" (the paper's Eq. 1).
      continuous_mode: continuous features "replace" the discrete row of an audio with a waveform, or "add" to it.
      fusion: text and speech of a JOINT position are "average"d (the release) or "sum"med (the paper's Eq. 5).
      user_audio: what the LLM hears of a user's audio: continuous features of its "waveform", or the codec's "tokens"
        only, grouped as those of replies are. The encoder and `speech_embedder/continuous` are not run then; their
        parameters stay, unused, so that checkpoints have the same paths.
      front_end: a user's wave is heard as it is ("plain", the release), or cut to its speech and brought to one level
        ("levelled", `fac_jax/audio/front_end.py`); with user_audio "tokens" it is not used.
      user_audio_scale: factor on a SPEECH position; 0.5 in the release's training, 1.0 at its inference and here.
      head_prefill: what the refined head reads at prompt positions in generation, "as_trained" or "release"
        (docs/model.md, section 9).
      delay_groups: groups of speech bos before the first group of a reply.
      context: most LLM positions of a row (2048 is about 6 minutes of audio); longer input is refused.
      duplex: of a model that takes part in calls, which has the map `beside` more; None for a half-duplex model.
      scan_layers: one scanned stack a run of equal layers (training), or layers side by side (decoding).
      remat: what a layer computes again in the backward pass: "none" nothing; "dots" all but matrix products without
        batch dimensions; "save_attention" the feed-forward block and, depending on the kernel, scores; "full"
        everything; "offload" what "save_attention" does, with all that is stored in the memory of the host.
      unroll_layers: compile the layers of a scanned stack one by one instead of as a loop. Parameters stay stacked. A
        step of a small model is faster, and compilation takes longer.
      dtype: dtype of activations; norms, softmax and losses are float32 whatever it is.
      param_dtype: dtype in which parameters are made.
    """

    text: DecoderConfig
    audio: EncoderConfig
    head: DecoderConfig
    vocab_size: int
    codebook_size: int
    special: SpecialIds
    tie_embeddings: bool = False
    group_size: int = 5
    grouping: Literal["mean", "concat"] = "mean"
    continuous_mode: Literal["replace", "add"] = "replace"
    fusion: Literal["average", "sum"] = "average"
    user_audio: UserAudio = "waveform"
    front_end: FrontEnd = "plain"
    user_audio_scale: float = 1.0
    head_prefill: Literal["as_trained", "release"] = "as_trained"
    delay_groups: int = 2
    context: int = 2048
    duplex: DuplexConfig | None = None
    scan_layers: bool = True
    remat: Remat = "none"
    unroll_layers: bool = False
    dtype: str = "float32"
    param_dtype: str = "float32"

    def __post_init__(self) -> None:
        for key, hint in typing.get_type_hints(ModelConfig).items():
            known, value = typing.get_args(hint), getattr(self, key)
            if typing.get_origin(hint) is Literal and value not in known:
                raise ValueError(f"model config key {key} is {value!r}; known: {', '.join(known)}")

    @property
    def n_window(self) -> int:
        """Half the number of mel frames of an encoder window."""
        return self.audio.n_window

    @property
    def mel_bins(self) -> int:
        """Bins of the log-mel that the encoder hears."""
        return self.audio.mel_bins

    @property
    def blocks(self) -> bool:
        """Whether the audio encoder hears calls block by block."""
        return self.duplex is not None and self.duplex.stream == "block"

    @property
    def limits(self) -> dict[str, int]:
        """Sinks and window of the Shared LLM (`layers.attention.Visibility`); none of a half-duplex model."""
        return {} if self.duplex is None else {"sinks": self.duplex.sinks, "window": self.duplex.window}

    @property
    def head_limits(self) -> dict[str, int]:
        """Sinks and window of the refined head, in its own positions."""
        if self.duplex is None:
            return {}
        group = self.group_size
        return {"sinks": group * self.duplex.sinks, "window": group * self.duplex.head_window}

    @property
    def units(self) -> int:
        """Number of codec ids, which are below every speech special."""
        return min(self.special.speech_bos, self.special.speech_eos, self.special.speech_pad)


def replace(config: ModelConfig, **changes: Any) -> ModelConfig:
    """`dataclasses.replace` with one level of nesting: `replace(c, text={"depth": 2}, group_size=1)`.

    Raises:
      ValueError: a key that the configuration does not have, or a word that is none of a key's.
    """

    def merge(node: Any, new: Any, where: str) -> Any:
        if not isinstance(new, dict):
            return new
        known = {f.name for f in dataclasses.fields(node)}
        unknown = sorted(set(new) - known)
        if unknown:
            raise ValueError(f"unknown model config key {where}{unknown[0]}; known: {', '.join(sorted(known))}")
        values = {}
        for key, value in new.items():
            old = getattr(node, key)
            values[key] = merge(old, value, f"{where}{key}.") if dataclasses.is_dataclass(old) else value
        return dataclasses.replace(node, **values)

    return merge(config, changes, "")
