"""Sizes of the released voice, and how it cuts long audio (docs/codec_model.md).

The defaults are those of Fun-CosyVoice3-0.5B-2512.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from jaxtyping import Shaped

TOKENS: Final = 6561  # ids of the codebook, 3^8
DIGITS: Final = 8  # base-3 digits of an id


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """Sizes of the S3 tokenizer (docs/codec_model.md, section 1.1).

    Attributes:
      mel_bins: bins of its log-mel.
      width: D.
      num_heads: N.
      depth: L.
      fsmn_width: kernel positions of the memory.
      attention_norm_eps: epsilon of the norm before attention; conversion reads it from the published graph.
      mlp_norm_eps: epsilon of the norm before the feed-forward block, likewise.
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
    """Sizes of the flow's estimator (docs/codec_model.md, section 2.4).

    Attributes:
      width: D.
      depth: L.
      num_heads: N.
      head_dim: H; only the first head has rotary positions.
      mlp_ratio: hidden width of the feed-forward block divided by D.
      chunk: mel frames of a chunk of the chunk mask.
      time_features: number of sines and cosines that encode a time.
      conv_width: kernel positions of the positional convolutions.
      conv_groups: channel groups of the positional convolutions.
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
    """Sizes of the flow (docs/codec_model.md, section 2.1).

    Attributes:
      vocab_size: number of ids.
      mel_bins: bins of its log-mel.
      speaker_width: features of a speaker embedding.
      token_frames: mel frames of a token.
      lookahead: later tokens that a token depends on.
      lookahead_width: channels of the look-ahead layer.
      steps: number of Euler steps.
      guidance: weight w of classifier-free guidance, `(1 + w) * conditioned - w * unconditioned`.
      dit: sizes of the estimator.
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
    """Sizes of the vocoder (docs/codec_model.md, section 3.2).

    Attributes:
      mel_bins: bins of its log-mel.
      channels: channels of the first convolution; every upsampling halves them.
      rate: sampling rate of the wave in Hz.
      harmonics: number of harmonics of the source, the fundamental included.
      sine_amplitude: amplitude of a harmonic.
      noise: amplitude of the noise in a voiced frame.
      voiced_threshold: pitch in Hz up to which a frame is unvoiced.
      upsample_rates: factors from mel frames to steps of the inverse transform.
      upsample_widths: kernel positions of the convolution after each upsampling.
      fft: size of the inverse transform.
      hop: samples between its windows.
      block_widths: kernel positions of the residual blocks after an upsampling; their outputs are averaged.
      block_dilations: dilations of each of these blocks.
      source_widths: kernel positions of the source's residual block at each rate.
      source_dilations: dilations of each of these blocks.
      slope: negative slope of the leaky ReLUs.
      limit: largest absolute value of a sample.
      lookahead: later mel frames that the first convolution depends on.
      f0_channels: channels of the pitch predictor.
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
        """Number of steps of the inverse transform in a mel frame."""
        return math.prod(self.upsample_rates)

    @property
    def frame_samples(self) -> int:
        """Number of samples in a mel frame."""
        return self.frame_steps * self.hop


def pieces(whole: Shaped[np.ndarray, " N"], size: int, short: int) -> Iterator[Shaped[np.ndarray, " _n"]]:
    """Yields pieces of `size` of samples or tokens in order, as views, by the release's rule (sections 1.5 and 4).

    If the last piece is shorter than `short`, the last two are joined and cut in the middle.
    """
    starts = list(range(0, len(whole), size))
    if len(starts) > 1 and len(whole) - starts[-1] < short:
        starts[-1] = starts[-2] + (len(whole) - starts[-2]) // 2
    for start, end in zip(starts, [*starts[1:], len(whole)], strict=True):
        yield whole[start:end]
