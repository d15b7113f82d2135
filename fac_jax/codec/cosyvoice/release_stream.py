"""The streaming of the release's web demo, with its quirks, for comparison (codec.md section 4).

It runs the flow over all tokens of its context again for every hop, under no mask; forgets its context at 200 tokens
and the vocoder's at 600, where 160 ms of speech are lost; and drops up to four tokens at the end. The vocoder need not
run again, since what it gave stays a prefix of what it would give.
"""

from typing import Final

import numpy as np

from fac_jax.codec.base import check_codebook
from fac_jax.codec.cosyvoice.chunks import pieces
from fac_jax.codec.cosyvoice.token2wav import PIECE, SHORT, Speaker, Token2Wav
from fac_jax.codec.cosyvoice.vocoder_windows import RELEASE_HELD

HOP: Final = 15
MOST_TOKENS: Final = 200  # of the flow's context
MOST_HISTORY: Final = 500  # after so many tokens that were cut, the vocoder begins anew
SPOKEN_ALONE: Final = 1  # tokens of an end that is not spoken, besides those heard ahead


class Steps:
    """One call of the release after the other on the same vocoder cache."""

    def __init__(self, voice: Token2Wav, speaker: Speaker) -> None:
        self._voice, self._speaker = voice, speaker
        self.forget()

    def forget(self) -> None:
        """Drops the vocoder's cache, and with it what is held back."""
        self._wave = self._voice.vocoder.speech(2 * HOP, "release", RELEASE_HELD)

    def step(self, ids: np.ndarray, offset: int, final: bool) -> np.ndarray:
        """Samples of the tokens from `offset` on; all of `ids` are the flow's context."""
        mel = self._voice.mel(ids, self._speaker, final=final)
        return self._wave.push(mel[offset * self._voice.flow.token_frames :], final)


class ReleaseStream:
    """The web demo's loop."""

    def __init__(self, voice: Token2Wav, speaker: Speaker) -> None:
        self._steps, self._ahead, self._units = Steps(voice, speaker), voice.flow.lookahead, voice.flow.vocab_size
        self._context = np.zeros(0, np.int32)
        self._offset = self._cut = 0
        self.calls: list[tuple[int, int, bool, int]] = []  # tokens, offset, final and samples of every step

    def push(self, ids: np.ndarray) -> np.ndarray:
        """Takes ids `[T]`, T >= 0, and gives the samples that the demo would send, float32 `[N]`.

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
        """The samples that are left, but of up to four tokens."""
        if len(self._context) > self._offset + SPOKEN_ALONE + self._ahead:
            return self._send(True)
        return np.zeros(0, np.float32)

    def _send(self, final: bool) -> np.ndarray:
        wave = self._steps.step(self._context, self._offset, final)
        self.calls.append((len(self._context), self._offset, final, len(wave)))
        self._offset += HOP
        if self._offset >= MOST_TOKENS:
            self._offset -= MOST_TOKENS
            self._context = self._context[MOST_TOKENS:]
            self._cut += MOST_TOKENS
        if self._cut >= MOST_HISTORY:
            self._cut = 0
            self._steps.forget()
        return wave


def release_offline(voice: Token2Wav, ids: np.ndarray, speaker: Speaker, hop: int = PIECE) -> np.ndarray:
    """The release's offline loop: each piece in steps of `hop` tokens, a whole piece at once where it is not longer.

    Where a last step would find the piece finished already, the release emits its end twice; here it ends once.
    """
    waves = []
    for piece in pieces(ids, PIECE, SHORT):
        steps, offset, final = Steps(voice, speaker), 0, False
        while not final:
            context = piece[: offset + hop + voice.flow.lookahead]
            final = len(context) == len(piece)
            waves.append(steps.step(context, offset, final))
            offset += hop
    return np.concatenate(waves)
