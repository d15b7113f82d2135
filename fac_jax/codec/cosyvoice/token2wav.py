"""Turns speech ids into a wave, at once or as they arrive (docs/codec_model.md, section 4).

Whole speech is cut into pieces as the release cuts it, and the flow sees all of a piece. A stream runs the flow under
its chunk mask: it speaks a chunk of `hop` tokens as soon as the look-ahead has arrived, and reads the keys and values
that earlier chunks left. Both give the same number of samples, 960 for each token at full size; under the same mask
they give the same samples.
"""

import dataclasses
from typing import Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int, Int32

from fac_jax.codec.base import check_codebook, check_ids
from fac_jax.codec.cosyvoice.config import FlowConfig, VocoderConfig, pieces
from fac_jax.codec.cosyvoice.flow import ABSENT, BEFORE, empty_past, sample, sample_chunk
from fac_jax.codec.cosyvoice.source import Phase
from fac_jax.codec.cosyvoice.vocoder_windows import Pitch, WindowedVocoder
from fac_jax.precision import EXACT, Precision, products
from fac_jax.types import Params

PIECE: Final = 750  # tokens of a piece, 30 s
SHORT: Final = 50  # a last piece of fewer tokens is joined with the piece before it
# Sizes in tokens of the programs for whole pieces. A piece runs in the smallest that holds it, so few are compiled.
BUCKETS: Final = (25, 50, 100, 150, 225, 300, 400, 500, 625, 750)
WINDOWS: Final = (50, 100, 250)  # mel frames of the vocoder's windows for whole speech; the last serves all longer

Speaker: TypeAlias = Float32[np.ndarray, " speaker_width"]  # embedding of the speaker whose voice is spoken


@dataclasses.dataclass(frozen=True)
class SpeechConfig:
    """Settings of speech.

    Attributes:
      hop: tokens of a chunk of a stream; the first audio comes after `hop + 3` tokens.
      left: earlier chunks that a chunk sees; memory and time of a chunk grow with it.
      precision: precision of the flow's matrix products (`fac_jax/precision.py`). "highest" gives the release's numbers
        on every device, "default" is faster on accelerators.
      pitch: "host" computes the pitch in float64, "device" in float32.
      phase: see `source.tones`.
    """

    hop: int = 15
    left: int = 14
    precision: Precision = EXACT
    pitch: Pitch = "host"
    phase: Phase = "exact"


class Token2Wav:
    """Flow and vocoder with their parameters and noise."""

    def __init__(
        self,
        flow: tuple[FlowConfig, Params],
        vocoder: tuple[VocoderConfig, Params],
        noise: tuple[np.ndarray, np.ndarray],
        config: SpeechConfig = SpeechConfig(),
    ) -> None:
        """Takes both models and their noise (`noise.release_noise`), which repeats if the speech is longer."""
        self.config, self.flow = config, flow[0]
        self.params = jax.device_put(flow[1])
        self._noise = noise[0]
        self.vocoder = WindowedVocoder(*vocoder, noise[1], config.pitch)

    @property
    def token_samples(self) -> int:
        """Number of samples of a token."""
        return self.flow.token_frames * self.vocoder.config.frame_samples

    def mel(
        self, ids: Int[np.ndarray, " T"], speaker: Speaker, chunk: int | None = None, final: bool = True
    ) -> Float[np.ndarray, "M mel_bins"]:
        """Computes the log-mel of ids in one program, float32: `token_frames` frames for each spoken token.

        Args:
          chunk: tokens of a chunk under the stream's mask; None if every token sees every other.
          final: whether the speech ends here; if not, the last three tokens are only look-ahead.
        """
        frames = self.flow.token_frames
        tokens = len(ids) if final else len(ids) - self.flow.lookahead
        size = bucket(tokens)
        padded = np.full(BEFORE + size + self.flow.lookahead, ABSENT, np.int32)
        padded[BEFORE : BEFORE + len(ids)] = ids
        mask = {} if chunk is None else {"chunk": chunk * frames, "left": self.config.left}
        with products(self.config.precision):
            mel = sample(
                self.flow,
                self.params,
                padded,
                np.int32(tokens * frames),
                jnp.asarray(speaker),
                np.zeros((size * frames, self.flow.mel_bins), np.float32),
                self.noise(0, size * frames),
                **mask,
            )
        return np.asarray(mel)[: tokens * frames]

    def offline(self, ids: Int[np.ndarray, " T"], speaker: Speaker) -> Float[np.ndarray, " N"]:
        """Speaks ids in pieces of 30 s; the flow sees a whole piece. Float32, N = `T * token_samples`.

        Raises:
          InputError: there is no id, or an id is outside the codebook.
        """
        ids = check_ids(ids, self.flow.vocab_size)
        return np.concatenate([self.wave(self.mel(piece, speaker)) for piece in pieces(ids, PIECE, SHORT)])

    def in_chunks(self, ids: Int[np.ndarray, " T"], speaker: Speaker) -> Float[np.ndarray, " N"]:
        """Computes a stream's samples in one program, for comparison; it takes, gives and raises what `offline` does.

        The memory of the program grows with the square of T.
        """
        return self.wave(self.mel(check_ids(ids, self.flow.vocab_size), speaker, self.config.hop))

    def wave(self, mel: Float[np.ndarray, "M mel_bins"]) -> Float[np.ndarray, " N"]:
        """Runs the vocoder over a whole log-mel: float32, `frame_samples` samples for each frame."""
        window = next((size for size in WINDOWS if size >= len(mel)), WINDOWS[-1])
        return self.vocoder.speech(window, self.config.phase).push(mel, final=True)

    def stream(self, speaker: Speaker) -> "Stream":
        """Starts a stream of ids."""
        return Stream(self, speaker)

    @property
    def chunk_frames(self) -> int:
        """Number of mel frames of a chunk of a stream."""
        return self.config.hop * self.flow.token_frames

    def chunk_noise(self, chunk: "Chunk") -> Float[np.ndarray, "M mel_bins"]:
        """Returns the flow's noise of a chunk."""
        return self.noise(chunk.number * self.chunk_frames, self.chunk_frames)

    def noise(self, first: int, frames: int) -> Float[np.ndarray, "{frames} mel_bins"]:
        """Returns frames `first .. first + frames` of the flow's noise."""
        return self._noise[np.arange(first, first + frames) % len(self._noise)]


@dataclasses.dataclass(frozen=True, eq=False)
class Chunk:
    """The next tokens of a stream that can be spoken.

    Attributes:
      number: of the chunk, from 0.
      ids: two tokens before it, its own, those that follow; ABSENT for none.
      frames: frames to speak.
      last: whether the speech ends with it.
    """

    number: int
    ids: Int32[np.ndarray, " padded"]
    frames: int
    last: bool


class Waiting:
    """The ids of a stream that wait to be spoken, `hop` at a time."""

    def __init__(self, voice: Token2Wav) -> None:
        self._flow, self._hop = voice.flow, voice.config.hop
        self._number = 0
        self._ids = np.full(BEFORE, ABSENT, np.int32)  # the two tokens before the next chunk, then the waiting ones

    def push(self, ids: Int[np.ndarray, " T"]) -> None:
        """Takes the next ids.

        Raises:
          InputError: an id is outside the codebook; none of them is taken.
        """
        self._ids = np.concatenate([self._ids, check_codebook(ids, self._flow.vocab_size)])

    def chunk(self, ended: bool) -> Chunk | None:
        """Takes out the next chunk; None if its tokens, or those that follow it, are not there yet."""
        left, lookahead = len(self._ids) - BEFORE, self._flow.lookahead
        if left < (1 if ended else self._hop + lookahead):
            return None
        size = BEFORE + self._hop + lookahead
        ids = np.pad(self._ids[:size], (0, max(0, size - len(self._ids))), constant_values=ABSENT)
        frames = min(left, self._hop) * self._flow.token_frames
        chunk = Chunk(self._number, ids, frames, ended and left <= self._hop)
        self._number += 1
        self._ids = self._ids[self._hop :]
        return chunk


class Stream:
    """A wave that is made chunk by chunk as ids arrive; every chunk costs the same (`Token2Wav.stream`)."""

    def __init__(self, voice: Token2Wav, speaker: Speaker) -> None:
        """Starts the stream; `Token2Wav.stream` calls this."""
        self._voice, self._speaker = voice, speaker
        self._past = empty_past(voice.flow, voice.chunk_frames, voice.config.left)
        self._wave = voice.vocoder.speech(voice.chunk_frames, voice.config.phase)
        self._ids = Waiting(voice)

    def push(self, ids: Int[np.ndarray, " T"]) -> Float[np.ndarray, " N"]:
        """Takes the next ids, T >= 0, and returns the samples that they complete, float32, N >= 0.

        Raises:
          InputError: an id is outside the codebook; none of them is taken.
        """
        self._ids.push(ids)
        return self._speak(ended=False)

    def finish(self) -> np.ndarray:
        """Returns the remaining samples, float32 `[N]`. Nothing may be pushed afterwards."""
        rest = self._speak(ended=True)
        return rest if len(rest) else self._wave.push(np.zeros((0, self._voice.flow.mel_bins), np.float32), final=True)

    def _speak(self, ended: bool) -> np.ndarray:
        """Speaks all chunks that are there."""
        voice, waves = self._voice, [np.zeros(0, np.float32)]
        while (chunk := self._ids.chunk(ended)) is not None:
            with products(voice.config.precision):
                mel, self._past = sample_chunk(
                    voice.flow,
                    voice.params,
                    self._past,
                    np.int32(chunk.number),
                    chunk.ids,
                    np.int32(chunk.frames),
                    jnp.asarray(self._speaker),
                    voice.chunk_noise(chunk),
                )
            waves.append(self._wave.push(np.asarray(mel)[: chunk.frames], final=chunk.last))
        return np.concatenate(waves)


def bucket(tokens: int) -> int:
    """Returns the size of the program that speaks this number of tokens at once."""
    most = BUCKETS[-1]
    return next((size for size in BUCKETS if size >= tokens), -(-tokens // most) * most)
