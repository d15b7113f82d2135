"""What the replies of finished calls sound like, apart from their text: the nearest of all replies of the scripts."""

from collections.abc import Sequence

import numpy as np

from data_pipelines.records.audio import with_waves
from experiments.calls.predictions import Called
from experiments.calls.scripted import Scripted
from fac_jax.audio.io import RATE, resampled
from fac_jax.codec.base import Codec
from fac_jax.duplex.call import SLOT, Turn
from fac_jax.evaluation.calls.base import Reply
from fac_jax.evaluation.speech.heard import Listener


class HeardReplies:
    """Hears the replies of calls, as clean renderings of the replies of their scripts."""

    def __init__(self, scripted: Sequence[Scripted], codec: Codec) -> None:
        """Reads the renderings from the assistant's channels, those of replies that are not cut."""
        self._codec, clean = codec, dict[str, np.ndarray]()
        for one in scripted:
            timing = one.record.timing
            assert timing is not None
            wanted = {
                number
                for number, turn in enumerate(timing.turns, 1)
                if not turn.cut and one.record.messages[number].text not in clean
            }
            if wanted:
                whole = with_waves(one.record).messages
                for number in wanted:
                    audio = whole[number].audio
                    if audio is not None and audio.wave is not None:
                        clean[whole[number].text] = resampled(audio.wave, RATE, codec.heard_rate)
        self._listener = Listener(clean, codec.heard_rate) if clean else None

    def replies(self, called: Called) -> list[Reply]:
        """Returns the replies that were heard in a call, with the words that their waves are nearest to."""
        return [
            Reply(turn.audible * SLOT, turn.closing * SLOT, self._words(turn))
            for turn in called.turns
            if len(turn.groups)
        ]

    def _words(self, turn: Turn) -> str:
        units = turn.groups[turn.groups < self._codec.units]
        if self._listener is None or turn.cut or not units.size:
            return ""
        wave = resampled(self._codec.decode(units), self._codec.rate, self._codec.heard_rate)
        return self._listener.hear(wave)
