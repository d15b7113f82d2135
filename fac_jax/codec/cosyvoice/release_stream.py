"""The streaming of the release's web demo with its quirks, for comparison (docs/codec_model.md, section 4).

For every hop it runs the flow again over all tokens of its context, without a chunk mask. It drops its context after
200 tokens and that of the vocoder after 600, which loses 160 ms of speech, and it drops up to four tokens at the end.
The vocoder does not run again here: its earlier samples would be the same.
"""

from typing import Final

import numpy as np

from fac_jax.codec.base import check_codebook
from fac_jax.codec.cosyvoice.config import pieces
from fac_jax.codec.cosyvoice.token2wav import PIECE, SHORT, Speaker, Token2Wav
from fac_jax.codec.cosyvoice.vocoder_windows import RELEASE_HELD

HOP: Final = 15
MAX_TOKENS: Final = 200  # tokens of the flow's context
MAX_HISTORY: Final = 500  # dropped tokens after which the vocoder starts a new context
DROPPED: Final = 1  # most tokens at the end that are dropped, in addition to the look-ahead


class Steps:
    """Calls of the release's step on one vocoder cache."""

    def __init__(self, voice: Token2Wav, speaker: Speaker) -> None:
        self._voice, self._speaker = voice, speaker
        self.forget()

    def forget(self) -> None:
        """Drops the vocoder's cache, and with it the frames that are held back."""
        self._wave = self._voice.vocoder.speech(2 * HOP, "release", RELEASE_HELD)

    def step(self, ids: np.ndarray, offset: int, final: bool) -> np.ndarray:
        """Returns the samples of the tokens from `offset` on; the flow sees all of `ids`."""
        mel = self._voice.mel(ids, self._speaker, final=final)
        return self._wave.push(mel[offset * self._voice.flow.token_frames :], final)


class ReleaseStream:
    """The loop of the web demo.

    Attributes:
      calls: tokens, offset, final and number of samples of every step.
    """

    def __init__(self, voice: Token2Wav, speaker: Speaker) -> None:
        self._steps, self._ahead, self._units = Steps(voice, speaker), voice.flow.lookahead, voice.flow.vocab_size
        self._context = np.zeros(0, np.int32)
        self._offset = self._cut = 0
        self.calls: list[tuple[int, int, bool, int]] = []

    def push(self, ids: np.ndarray) -> np.ndarray:
        """Takes ids `[T]`, T >= 0, and returns the samples that the demo would send, float32 `[N]`.

        Raises:
          InputError: an id is outside the codebook.
        """
        waves = [np.zeros(0, np.float32)]
        for one in check_codebook(ids, self._units):
            self._context = np.append(self._context, one)
            if len(self._context) >= self._offset + HOP + self._ahead:
                waves.append(self._send(False))
        return np.concatenate(waves)

    def finish(self) -> np.ndarray:
        """Returns the remaining samples, without those of up to four tokens that the demo drops."""
        if len(self._context) > self._offset + DROPPED + self._ahead:
            return self._send(True)
        return np.zeros(0, np.float32)

    def _send(self, final: bool) -> np.ndarray:
        wave = self._steps.step(self._context, self._offset, final)
        self.calls.append((len(self._context), self._offset, final, len(wave)))
        self._offset += HOP
        if self._offset >= MAX_TOKENS:
            self._offset -= MAX_TOKENS
            self._context = self._context[MAX_TOKENS:]
            self._cut += MAX_TOKENS
        if self._cut >= MAX_HISTORY:
            self._cut = 0
            self._steps.forget()
        return wave


def release_offline(voice: Token2Wav, ids: np.ndarray, speaker: Speaker) -> np.ndarray:
    """Speaks ids `[T]` by the release's offline loop, float32 `[N]`: pieces of 30 s, each in steps of `HOP` tokens.

    If the last hop has no more tokens than the look-ahead, the release speaks the end twice; this function speaks it
    once.
    """
    waves = []
    for piece in pieces(ids, PIECE, SHORT):
        steps, offset, final = Steps(voice, speaker), 0, False
        while not final:
            context = piece[: offset + HOP + voice.flow.lookahead]
            final = len(context) == len(piece)
            waves.append(steps.step(context, offset, final))
            offset += HOP
    return np.concatenate(waves)
