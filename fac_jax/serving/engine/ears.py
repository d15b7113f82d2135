"""Waves of users as the model hears them; a wave that comes again, as in a conversation, is encoded once."""

import dataclasses
import functools
import hashlib
import threading
import weakref
from collections import OrderedDict
from typing import Final, TypeAlias

import jax
import numpy as np
from jaxtyping import Float32

from fac_jax.api import Model
from fac_jax.audio.io import RATE, resampled
from fac_jax.audio.mel import HOP, host_log_mel
from fac_jax.batching.conversation import Conversation, StoredFeatures, Turn
from fac_jax.batching.features import as_heard
from fac_jax.generation.listening import encoded

WINDOWS: Final = 4  # encoder windows of the larger program; the rest, and what comes from a `Listener`, goes one by one
TOKENS_S: Final = (5, 10, 15, 20, 25, 30, 60, 120)  # seconds of waves for which a codec may compile

_Digest: TypeAlias = bytes


@dataclasses.dataclass(eq=False)
class _Wave:
    """A wave as it is heard, and what was encoded of it."""

    wave: np.ndarray
    mel: StoredFeatures | None = None
    speech: np.ndarray | None = None

    @property
    def bytes(self) -> int:
        parts = (self.wave, self.speech, None if self.mel is None else self.mel.windows)
        return sum(part.nbytes for part in parts if part is not None)


@dataclasses.dataclass(frozen=True, eq=False)
class Heard:
    """A conversation whose waves are those that the model hears; `waves` has one for each turn that is to encode."""

    conversation: Conversation
    waves: tuple[_Wave | None, ...]


class Ears:
    """Prepares conversations in two steps: `heard` in any thread, then `encode` in the engine's, on the device."""

    def __init__(self, model: Model, most_bytes: int) -> None:
        """Remembers waves of up to `most_bytes`, with what was encoded of them."""
        self._model, self._most, self._config = model, most_bytes, model.config
        self._tokens = model.config.user_audio == "tokens"
        self._known: OrderedDict[_Digest, _Wave] = OrderedDict()
        self._digests: dict[int, tuple[weakref.ref[np.ndarray], _Digest]] = {}  # by id, of waves that somebody holds
        self._lock = threading.Lock()

    def heard(self, conversation: Conversation) -> Heard:
        """Applies the front end of the model to waves whose features are not there yet."""
        waves = tuple(self._wave(turn) for turn in conversation.turns)
        return Heard(_filled(conversation, waves), waves)

    def encode(self, heard: Heard) -> Conversation:
        """Encodes what is not encoded yet."""
        for one in heard.waves:
            if one is None:
                continue
            if self._tokens and one.speech is None:
                codec = self._model.codec
                one.speech = codec.encode_batch([resampled(one.wave, RATE, codec.heard_rate)])[0]
            elif not self._tokens and one.mel is None:
                one.mel = self._features(one.wave)
        self._keep_within()
        return _filled(heard.conversation, heard.waves)

    def warm_up(self, seconds: float) -> None:
        """Compiles what encodes waves of up to `seconds`."""
        if not self._tokens:
            size = 2 * self._config.n_window
            for windows in (1, WINDOWS):
                self._features(np.zeros(windows * size * HOP, np.float32))
            return
        codec = self._model.codec
        for length in TOKENS_S:
            if length <= max(seconds, TOKENS_S[0]):
                codec.encode_batch([np.zeros(length * codec.heard_rate, np.float32)])

    @property
    def bytes(self) -> int:
        """Returns the bytes of what is remembered."""
        with self._lock:
            return sum(one.bytes for one in self._known.values())

    def _wave(self, turn: Turn) -> _Wave | None:
        there = turn.speech if self._tokens else turn.mel
        if turn.role != "user" or turn.wave is None or there is not None:
            return None
        key = self._key(turn.wave)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        wave = as_heard(turn, self._config).wave
        assert wave is not None
        with self._lock:
            return self._known.setdefault(key, _Wave(wave))

    def _key(self, wave: np.ndarray) -> _Digest:
        """Returns the digest of a wave; those of a conversation come again with every turn, and are digested once."""
        digested = self._digests.get(id(wave))
        if digested is not None and digested[0]() is wave:
            return digested[1]
        digest = hashlib.blake2b(np.ascontiguousarray(wave).data, digest_size=16).digest()
        self._digests[id(wave)] = weakref.ref(wave, functools.partial(self._forget, id(wave))), digest
        return digest

    def _forget(self, at: int, _: weakref.ref[np.ndarray]) -> None:
        self._digests.pop(at, None)

    def _keep_within(self) -> None:
        with self._lock:
            total = sum(one.bytes for one in self._known.values())
            while total > self._most:
                total -= self._known.popitem(last=False)[1].bytes

    def _features(self, wave: Float32[np.ndarray, " N"]) -> StoredFeatures:
        """Encodes a wave: four windows at a time, and those that are left one by one."""
        config = self._config
        size, mel = 2 * config.n_window, host_log_mel(wave, config.mel_bins)
        count = -(-len(mel) // size)
        windows = np.zeros((count * size, config.mel_bins), np.float32)
        windows[: len(mel)] = mel
        windows = windows.reshape(count, size, -1)
        lengths = np.clip(len(mel) - size * np.arange(count), 0, size).astype(np.int32)
        together = count - count % WINDOWS
        firsts = [*range(0, together, WINDOWS), *range(together, count)]
        found = [
            encoded(self._model.module, self._model.params, windows[first:end], lengths[first:end])
            for first, end in zip(firsts, [*firsts[1:], count], strict=True)
        ]
        return StoredFeatures(np.concatenate(jax.device_get(found)), len(wave))


def _filled(conversation: Conversation, waves: tuple[_Wave | None, ...]) -> Conversation:
    """Returns a conversation whose turns have these waves, and what is encoded of them."""
    turns = [
        turn if one is None else dataclasses.replace(turn, wave=one.wave, mel=one.mel, speech=one.speech)
        for turn, one in zip(conversation.turns, waves, strict=True)
    ]
    return dataclasses.replace(conversation, turns=tuple(turns))
