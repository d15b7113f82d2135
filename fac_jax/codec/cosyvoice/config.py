"""Sizes of the released voice; the defaults are those of Fun-CosyVoice3-0.5B-2512 (codec.md)."""

import dataclasses
from typing import Final

TOKENS: Final = 6561  # of the codebook, 3^8
DIGITS: Final = 8  # of a token in base 3


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """The S3 tokenizer (codec.md section 1.1).

    Attributes:
      mel_bins: of its log-mel.
      width: D.
      num_heads: N.
      depth: L.
      fsmn_width: kernel positions of the memory block.
      attention_norm_eps: of the norm before attention; the published graph holds the value.
      mlp_norm_eps: of the norm before the feed-forward block.
    """

    mel_bins: int = 128
    width: int = 1280
    num_heads: int = 20
    depth: int = 12
    fsmn_width: int = 31
    attention_norm_eps: float = 1e-5
    mlp_norm_eps: float = 1e-5


@dataclasses.dataclass(frozen=True)
class DiTConfig:
    """The flow's estimator (codec.md section 2.4).

    Attributes:
      width: D.
      depth: L.
      num_heads: N.
      head_dim: H; only the first head is rotated.
      mlp_ratio: hidden width of the feed-forward block over D.
      chunk: mel frames of a chunk of the chunk mask.
      time_features: sines and cosines of a time.
      conv_width: kernel positions of the positional convolutions.
      conv_groups: their groups.
    """

    width: int = 1024
    depth: int = 22
    num_heads: int = 16
    head_dim: int = 64
    mlp_ratio: int = 2
    chunk: int = 50
    time_features: int = 256
    conv_width: int = 31
    conv_groups: int = 16


@dataclasses.dataclass(frozen=True)
class FlowConfig:
    """Tokens to log-mel (codec.md section 2.1).

    Attributes:
      vocab_size: ids that it can speak.
      mel_bins: of its log-mel.
      speaker_width: of a speaker embedding.
      token_frames: mel frames of a token.
      lookahead: tokens that a token hears ahead.
      lookahead_width: channels of that layer.
      steps: of the Euler solver.
      guidance: weight of what is added for the distance from the unconditioned direction.
      dit: the estimator.
    """

    vocab_size: int = TOKENS
    mel_bins: int = 80
    speaker_width: int = 192
    token_frames: int = 2
    lookahead: int = 3
    lookahead_width: int = 1024
    steps: int = 10
    guidance: float = 0.7
    dit: DiTConfig = DiTConfig()


@dataclasses.dataclass(frozen=True)
class VocoderConfig:
    """Log-mel to a wave (codec.md section 3.2).

    Attributes:
      mel_bins: of its log-mel.
      channels: of the first convolution; every upsampling halves them.
      rate: of the wave, Hz.
      harmonics: of the source, the fundamental included.
      sine_amplitude: of a harmonic.
      noise: of a voiced sample.
      voiced_threshold: Hz below which a frame is unvoiced.
      upsample_rates: factors from frames to frames of the inverse transform.
      upsample_widths: kernel positions behind each.
      fft: size of the inverse transform.
      hop: its hop.
      block_widths: kernel positions of the residual blocks of a rate, averaged.
      block_dilations: of each of them.
      source_widths: kernel positions of the residual block of the source at each rate.
      source_dilations: of each of them.
      slope: of the leaky ReLUs.
      limit: of the wave.
      lookahead: mel frames that the first convolution hears ahead.
      f0_channels: of the f0 predictor.
    """

    mel_bins: int = 80
    channels: int = 512
    rate: int = 24000
    harmonics: int = 9
    sine_amplitude: float = 0.1
    noise: float = 0.003
    voiced_threshold: float = 10.0
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_widths: tuple[int, ...] = (16, 11, 7)
    fft: int = 16
    hop: int = 4
    block_widths: tuple[int, ...] = (3, 7, 11)
    block_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    source_widths: tuple[int, ...] = (7, 7, 11)
    source_dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    slope: float = 0.1
    limit: float = 0.99
    lookahead: int = 4
    f0_channels: int = 512

    @property
    def frame_steps(self) -> int:
        """Steps of the inverse transform in a mel frame."""
        steps = 1
        for rate in self.upsample_rates:
            steps *= rate
        return steps

    @property
    def frame_samples(self) -> int:
        """Samples of a mel frame."""
        return self.frame_steps * self.hop
