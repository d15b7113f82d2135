"""Streams of the released voice that are spoken together (docs/codec.md, "Many streams at once")."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from fac_jax.codec.base import Spoken, check_place
from fac_jax.codec.cosyvoice.flow import empty_past, sample_chunks
from fac_jax.codec.cosyvoice.token2wav import Chunk, Speaker, Token2Wav, Waiting
from fac_jax.codec.cosyvoice.vocoder_windows import Speech
from fac_jax.precision import products


@dataclasses.dataclass
class _Place:
    """A stream that is spoken."""

    speaker: Speaker
    ids: Waiting
    wave: Speech
    ended: bool = False


class VoicePool:
    """A fixed number of places for streams, whose chunks run in one program (`codec.base.SpeechPool`).

    The keys and values of all places are one array on the device. A batch is padded to a power of two, so that few
    programs are compiled.
    """

    def __init__(self, voice: Token2Wav, speaker: Speaker, places: int) -> None:
        """Makes the places, all of them free."""
        self._voice, self._speaker = voice, speaker
        empty = empty_past(voice.flow, voice.chunk_frames, voice.config.left)
        self._past = jax.tree.map(lambda leaf: jnp.zeros((places, *leaf.shape), leaf.dtype), empty)
        self._places: list[_Place | None] = [None] * places

    def start(self, speaker: Speaker | None = None) -> int | None:
        """See `SpeechPool`; `speaker` is the embedding of another voice."""
        if None not in self._places:
            return None
        at, voice = self._places.index(None), self._voice
        wave = voice.vocoder.speech(voice.chunk_frames, voice.config.phase)
        self._places[at] = _Place(self._speaker if speaker is None else speaker, Waiting(voice), wave)
        return at

    def push(self, place: int, ids: Int[np.ndarray, " T"]) -> None:
        """See `SpeechPool`."""
        check_place(self._places, place).ids.push(ids)

    def end(self, place: int) -> None:
        """See `SpeechPool`."""
        check_place(self._places, place).ended = True

    def stop(self, place: int) -> None:
        """See `SpeechPool`."""
        check_place(self._places, place)
        self._places[place] = None

    def speak(self) -> list[Spoken]:
        """See `SpeechPool`."""
        taken = {at: place for at, place in enumerate(self._places) if place is not None}
        chunks = {at: chunk for at, place in taken.items() if (chunk := place.ids.chunk(place.ended)) is not None}
        mels = self._mels(chunks)
        silent = np.zeros((0, self._voice.flow.mel_bins), np.float32)
        fed: dict[int, _Place] = {}
        for at, place in taken.items():
            if at in chunks:
                place.wave.feed(mels[at], final=chunks[at].last)
            elif place.ended:
                place.wave.feed(silent, final=True)
            else:
                continue
            fed[at] = place
        waves = self._waves({at: place.wave for at, place in fed.items()})
        found = []
        for at, place in fed.items():
            last = place.ended and (at not in chunks or chunks[at].last)
            found.append(Spoken(at, functools.partial(waves.__getitem__, at), last))
            if last:
                self._places[at] = None
        return found

    def _mels(self, chunks: dict[int, Chunk]) -> dict[int, np.ndarray]:
        """Solves chunks by place."""
        if not chunks:
            return {}
        voice, rows = self._voice, 1 << (len(chunks) - 1).bit_length()
        padded = [*chunks.items(), *[(len(self._places), next(iter(chunks.values())))] * (rows - len(chunks))]
        speakers = [self._speaker_at(at) for at, _ in padded]
        with products(voice.config.precision):
            mels, self._past = sample_chunks(
                voice.flow,
                voice.params,
                self._past,
                np.array([at for at, _ in padded], np.int32),
                np.array([chunk.number for _, chunk in padded], np.int32),
                np.stack([chunk.ids for _, chunk in padded]),
                np.array([chunk.frames for _, chunk in padded], np.int32),
                np.stack(speakers),
                np.stack([voice.chunk_noise(chunk) for _, chunk in padded]),
            )
        made = np.asarray(mels)
        return {at: made[row, : chunk.frames] for row, (at, chunk) in enumerate(chunks.items())}

    def _speaker_at(self, at: int) -> Speaker:
        place = self._places[at] if at < len(self._places) else None
        return self._speaker if place is None else place.speaker

    def _waves(self, speeches: dict[int, Speech]) -> dict[int, np.ndarray]:
        """Makes the samples that are complete by place, window by window of all of them."""
        waves = {at: [np.zeros(0, np.float32)] for at in speeches}
        while windows := {at: window for at, speech in speeches.items() if (window := speech.window()) is not None}:
            rows = 1 << (len(windows) - 1).bit_length()
            batch = [*windows.values()]
            made = self._voice.vocoder.decode(batch + batch[:1] * (rows - len(batch)))
            for row, at in enumerate(windows):
                waves[at].append(speeches[at].take(made[row]))
        return {at: np.concatenate(parts) for at, parts in waves.items()}
