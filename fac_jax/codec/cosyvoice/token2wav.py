"""Speech ids to a wave: whole, and as they come (codec.md section 4).

Whole speech is cut into pieces as the release cuts it, and the flow sees all of a piece. A stream runs the flow under
its chunk mask: a chunk of `hop` tokens is spoken as soon as the tokens that it hears ahead are there, from keys and
values that the chunks before have left. Both give the same number of samples, 960 a token at full size; under the same
mask they give the same samples.
"""

import dataclasses
from typing import Any, Final

import jax
import jax.numpy as jnp
import numpy as np

from fac_jax.codec.base import check_codebook, check_ids
from fac_jax.codec.cosyvoice.chunks import pieces
from fac_jax.codec.cosyvoice.config import FlowConfig, VocoderConfig
from fac_jax.codec.cosyvoice.flow import ABSENT, AHEAD, sample
from fac_jax.codec.cosyvoice.flow_stream import empty_past, sample_chunk
from fac_jax.codec.cosyvoice.source import Phase
from fac_jax.codec.cosyvoice.vocoder_windows import Pitch, WindowedVocoder
from fac_jax.types import InputError, Params

PIECE: Final = 750  # tokens of 30 s, which the release speaks at once
SHORT: Final = 50  # tokens of a last piece that is not spoken alone
# Tokens of the whole-piece programs: a piece runs in the smallest that holds it, so that few are compiled.
BUCKETS: Final = (25, 50, 100, 150, 225, 300, 400, 500, 625, 750)
WINDOWS: Final = (50, 100, 250)  # mel frames that the vocoder makes at a time of whole speech; the last for all longer


@dataclasses.dataclass(frozen=True, eq=False)
class Speaker:
    """A voice.

    Attributes:
      embedding: float32 `[192]`.
      ids: of a prompt in that voice, int32 `[P]`; Fun-Audio-Chat uses none.
      mel: its log-mel float32 `[P * token_frames, 80]`.
    """

    embedding: np.ndarray
    ids: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    mel: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 80), np.float32))


@dataclasses.dataclass(frozen=True)
class SpeechConfig:
    """How ids are spoken.

    Attributes:
      hop: tokens of a chunk; the first audio comes after `hop + 3` of them.
      left: chunks before its own that a chunk hears; memory and time of a chunk grow with it.
      precision: of the flow's matrix products, a name of `jax.default_matmul_precision`. "highest" gives the release's
        numbers everywhere, "default" is faster on accelerators.
      pitch: "host" in float64, or "device" in float32.
      phase: see `source.tones`.
    """

    hop: int = 15
    left: int = 14
    precision: str = "highest"
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
        """Takes both models, and their noise (`noise.release_noise`), which repeats where speech is longer."""
        self.config, self.flow = config, flow[0]
        self._params = jax.device_put(flow[1])
        self._noise = noise[0]
        self.vocoder = WindowedVocoder(*vocoder, noise[1], config.pitch)

    @property
    def rate(self) -> int:
        """Of the waves, Hz."""
        return self.vocoder.config.rate

    @property
    def token_samples(self) -> int:
        """Samples of a token."""
        return self.flow.token_frames * self.vocoder.config.frame_samples

    def mel(self, ids: np.ndarray, speaker: Speaker, chunk: int | None = None, final: bool = True) -> np.ndarray:
        """Log-mel of ids in one go.

        Args:
          ids: int32 `[T]`, in the codebook.
          speaker: whose voice.
          chunk: tokens of a chunk under the stream's mask; None to see everything.
          final: whether the speech ends here; otherwise the last three tokens are only heard ahead.

        Returns:
          float32 `[T * token_frames, 80]`, of the spoken tokens.
        """
        frames, prompt = self.flow.token_frames, len(speaker.ids)
        everything = np.concatenate([speaker.ids, ids]).astype(np.int32)
        tokens = len(everything) if final else len(everything) - self.flow.lookahead
        size = bucket(tokens)
        padded = np.full(AHEAD + size + self.flow.lookahead, ABSENT, np.int32)
        padded[AHEAD : AHEAD + len(everything)] = everything
        mask = {} if chunk is None else {"chunk": chunk * frames, "left": self.config.left}
        with jax.default_matmul_precision(self.config.precision):
            mel = sample(
                self.flow,
                self._params,
                padded,
                np.int32(tokens * frames),
                jnp.asarray(speaker.embedding),
                self.condition(speaker, 0, size * frames),
                self.noise(0, size * frames),
                **mask,
            )
        return np.asarray(mel)[prompt * frames : tokens * frames]

    def offline(self, ids: np.ndarray, speaker: Speaker) -> np.ndarray:
        """Speaks ids `[T]` piece by piece, each of which is seen whole: float32 `[T * token_samples]`.

        Raises:
          InputError: no id, or one outside the codebook; the speaker's prompt does not fit its mel.
        """
        check_prompt(speaker, self.flow.token_frames)
        ids = check_ids(ids, self.flow.vocab_size)
        return np.concatenate([self.wave(self.mel(piece, speaker)) for piece in pieces(ids, PIECE, SHORT)])

    def in_chunks(self, ids: np.ndarray, speaker: Speaker) -> np.ndarray:
        """What a stream of ids `[T]` gives, computed in one go: float32 `[T * token_samples]`.

        All frames are in one program, whose memory grows with the square of T: for comparison with streams.

        Raises:
          InputError: as `offline`.
        """
        check_prompt(speaker, self.flow.token_frames)
        return self.wave(self.mel(check_ids(ids, self.flow.vocab_size), speaker, self.config.hop))

    def wave(self, mel: np.ndarray) -> np.ndarray:
        """Log-mel `[F, 80]` as a wave float32 `[F * 480]`."""
        window = next((size for size in WINDOWS if size >= len(mel)), WINDOWS[-1])
        return self.vocoder.speech(window, self.config.phase).push(mel, final=True)

    def stream(self, speaker: Speaker) -> "Stream":
        """Begins a wave whose ids are yet to come. InputError if the speaker's prompt does not fit its mel."""
        check_prompt(speaker, self.flow.token_frames)
        return Stream(self, speaker)

    def next_chunk(self, past: Any, number: int, ids: np.ndarray, length: int, speaker: Speaker) -> tuple[Any, Any]:
        """`flow_stream.sample_chunk` of this voice: log-mel and past."""
        frames = self.config.hop * self.flow.token_frames
        with jax.default_matmul_precision(self.config.precision):
            return sample_chunk(
                self.flow,
                self._params,
                past,
                np.int32(number),
                ids,
                np.int32(length),
                jnp.asarray(speaker.embedding),
                self.condition(speaker, number * frames, frames),
                self.noise(number * frames, frames),
            )

    def condition(self, speaker: Speaker, first: int, frames: int) -> np.ndarray:
        """The prompt's log-mel in `frames` frames from `first` on, zero behind it."""
        cond = np.zeros((frames, self.flow.mel_bins), np.float32)
        there = speaker.mel[first : first + frames]
        cond[: len(there)] = there
        return cond

    def noise(self, first: int, frames: int) -> np.ndarray:
        """The flow's noise of `frames` frames from `first` on."""
        return self._noise[np.arange(first, first + frames) % len(self._noise)]


class Stream:
    """A wave in the making, chunk by chunk; every chunk costs the same."""

    def __init__(self, voice: Token2Wav, speaker: Speaker) -> None:
        """`Token2Wav.stream` makes it."""
        config = voice.config
        self._voice, self._speaker, self._hop = voice, speaker, config.hop
        self._frames = config.hop * voice.flow.token_frames
        self._past = empty_past(voice.flow, self._frames, config.left)
        self._wave = voice.vocoder.speech(self._frames, config.phase)
        self._number = 0  # of the next chunk
        self._ids = np.full(AHEAD, ABSENT, np.int32)  # from two tokens before the next chunk on
        self._unheard = len(speaker.ids) * voice.flow.token_frames  # frames of the prompt to come
        self._waiting = self._take(speaker.ids)

    def push(self, ids: np.ndarray) -> np.ndarray:
        """Takes ids `[T]`, T >= 0, and gives the samples that they complete, float32 `[N]`, N >= 0.

        Raises:
          InputError: an id is outside the codebook; none of them is taken.
        """
        return self._take(check_codebook(ids, self._voice.flow.vocab_size))

    def finish(self) -> np.ndarray:
        """The samples that are left; nothing can be pushed afterwards."""
        waves = []
        left = len(self._ids) - AHEAD
        while left > 0:
            waves.append(self._speak(min(left, self._hop), last=left <= self._hop))
            left -= self._hop
        if not waves:
            waves.append(self._wave.push(self._no_mel(), final=True))
        return np.concatenate(waves)

    def _take(self, ids: np.ndarray) -> np.ndarray:
        self._ids = np.concatenate([self._ids, ids])
        waves = [np.zeros(0, np.float32)]
        while len(self._ids) >= AHEAD + self._hop + self._voice.flow.lookahead:
            waves.append(self._speak(self._hop, last=False))
        return np.concatenate(waves)

    def _speak(self, tokens: int, last: bool) -> np.ndarray:
        """Speaks the next chunk, `tokens` of it."""
        voice, size = self._voice, AHEAD + self._hop + self._voice.flow.lookahead
        ids = self._ids[:size]
        ids = np.pad(ids, (0, size - len(ids)), constant_values=ABSENT)
        length = tokens * voice.flow.token_frames
        mel, self._past = voice.next_chunk(self._past, self._number, ids, length, self._speaker)
        self._number += 1
        self._ids = self._ids[self._hop :]
        skipped = min(self._unheard, length)
        self._unheard -= skipped
        return self._wave.push(np.asarray(mel)[skipped:length], final=last)

    def _no_mel(self) -> np.ndarray:
        return np.zeros((0, self._voice.flow.mel_bins), np.float32)


def bucket(tokens: int) -> int:
    """Tokens of the program that speaks so many at once."""
    most = BUCKETS[-1]
    return next((size for size in BUCKETS if size >= tokens), -(-tokens // most) * most)


def check_prompt(speaker: Speaker, token_frames: int) -> None:
    """Raises `InputError` unless a prompt has its mel."""
    frames = len(speaker.ids) * token_frames
    if len(speaker.mel) != frames:
        raise InputError(f"the prompt has {len(speaker.ids)} ids and {len(speaker.mel)} mel frames, must have {frames}")
