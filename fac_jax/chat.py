"""A conversation of several turns with a trained model (`Model.chat`)."""

import dataclasses
import functools
import warnings
from collections.abc import Iterable, Iterator
from typing import Protocol

import jax
import numpy as np

from fac_jax.audio.io import RATE
from fac_jax.batching.conversation import Conversation, GeneratedReply, Turn
from fac_jax.batching.features import add_features
from fac_jax.batching.generated import closed, cut
from fac_jax.batching.grid import Example, encode
from fac_jax.batching.prompt import prompt_of
from fac_jax.batching.question import Question, mode_of, single_turn
from fac_jax.codec.base import TOKEN_RATE, Codec, SpeechStream
from fac_jax.generation.engine import advance
from fac_jax.generation.listening import Listener
from fac_jax.generation.sampling import fold
from fac_jax.generation.slots import Decoding, Slots, requests
from fac_jax.generation.stream import Part, stream
from fac_jax.generation.turns import Parked, take_up
from fac_jax.models.config import ModelConfig
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.text.prompts import SYSTEM_JOINT, SYSTEM_TEXT
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError, Params


class ChatModel(Protocol):
    """The part of `api.Model` that a conversation needs; described there."""

    config: ModelConfig
    tokenizer: Tokenizer
    module: FunAudioChat
    params: Params

    @functools.cached_property
    def codec(self) -> Codec: ...
    def remarks_on(self, conversations: Iterable[Conversation]) -> Iterable[str]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class Reply:
    """What the model answers.

    Attributes:
      text: its text, special tokens left out.
      wave: float32 `[N]`, its speech; empty if nothing was spoken.
      rate: sampling rate of `wave` in Hz.
      units: int32 `[T]`, the codec's ids of its speech at 25 Hz; empty if nothing was spoken.
      finished: whether the model ended the reply; False if it was cut off at `max_steps`.
    """

    text: str
    wave: np.ndarray
    rate: int
    units: np.ndarray
    finished: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """A part of a reply that is being made; an LLM step gives one, which is 200 ms of speech.

    Attributes:
      text: what the text goes on with, whole characters; may be empty.
      wave: float32 `[N]`, the samples that are ready, at `Model.codec.rate`; may be empty.
      units: int32 `[T]`, the new ids of the codec; may be empty.
      last: whether nothing follows.
      finished: whether the model has ended the reply; False in the last piece if it was cut off at `max_steps`.
    """

    text: str
    wave: np.ndarray
    units: np.ndarray
    last: bool
    finished: bool


class Chat:
    """A conversation that remembers its turns.

    The model keeps what it computed of earlier turns: a new turn costs as much as its own question and reply.
    """

    def __init__(self, model: ChatModel, decoding: Decoding, system: str | None, seed: int) -> None:
        """Begins a conversation; `Model.chat` calls this."""
        joint = decoding.stream == "joint"
        self._model, self._decoding = model, decoding
        self._keys = jax.random.key(seed)[None]
        self._answers = "s" if joint else "t"
        self._said = Conversation("0", (SYSTEM_JOINT if joint else SYSTEM_TEXT) if system is None else system, ())
        self._number = 0  # of the next turn
        self._streaming = False
        self._reply = GeneratedReply(np.zeros(0, np.int32), np.zeros((0, 1), np.int32))
        self._parked: Parked | None = None

    def __len__(self) -> int:
        """Returns the number of turns that are remembered, a question and its reply each."""
        return len(self._said.turns) // 2

    def listen(self, rate: int = RATE) -> Listener:
        """Begins a question that is heard while it is spoken.

        Its `push` takes samples at `rate` Hz; `ask` and `stream` take it in place of a wave when the user has stopped.
        """
        return Listener(self._model.module, self._model.params, rate)

    def ask(self, question: Question | Listener, rate: int = RATE, *, instruction: str = "") -> Reply:
        """Says something to the model, a wave float `[N]` or a text, and returns its reply.

        Args:
          question: a wave, a text, or what was heard of a user (`listen`).
          rate: sampling rate of a wave in Hz.
          instruction: text that follows a wave in the same turn.

        Raises:
          InputError: see `Model.respond`; nothing is remembered then.
        """
        asked, prompt, codec = self._prompt(question, rate, instruction)
        model, decoding = self._model, self._decoding
        slots = self._begin(asked, prompt)
        slots = advance(model.module, model.params, slots, decoding.max_steps, False, draws=decoding.draws)
        (part,) = stream(model.module, model.params, slots, model.tokenizer, decoding)
        self._remember(asked, prompt, part)
        wave = codec.decode(part.units) if codec is not None and part.units.size else np.zeros(0, np.float32)
        if not part.finished:
            warnings.warn(f"reply {prompt.id} was cut at max_steps={decoding.max_steps}", stacklevel=2)
        if codec is not None and not part.units.size:
            warnings.warn(f"reply {prompt.id} has no speech", stacklevel=2)
        return Reply(part.text, wave, RATE if codec is None else codec.rate, part.units, part.finished)

    def stream(self, question: Question | Listener, rate: int = RATE, *, instruction: str = "") -> Iterator[Piece]:
        """Says something to the model, and hands its reply out piece by piece.

        Leaving the loop ends the reply; what was handed out is remembered. Until then nothing else may be said. The
        arguments are those of `ask`.
        """
        asked, prompt, codec = self._prompt(question, rate, instruction)
        return self._pieces(asked, prompt, None if codec is None else codec.stream())

    def cut(self, seconds: float) -> None:
        """Says how much of the last reply was heard, in seconds of its speech; the rest of it is forgotten.

        The text that was picked together with this speech stays; it is ahead of what the speech says.

        Raises:
          InputError: there is no spoken reply yet, one is still being made, or `seconds` is below 0.
        """
        self._check_idle()
        if not self._said.turns:
            raise InputError("chat: there is no reply to cut; ask something first")
        if self._answers == "t":
            raise InputError("chat: a reply in text alone is not heard, and cannot be cut")
        if not 0 <= seconds < float("inf"):
            raise InputError(f"chat: seconds={seconds}; give 0 or more seconds of the reply's speech")
        config = self._model.config
        spoken = np.cumsum(np.sum(self._reply.groups < config.units, axis=1))
        groups = int(np.searchsorted(spoken, seconds * TOKEN_RATE)) + 1 if seconds else 0
        self._reply = cut(self._reply, groups, config.special)
        turns = (*self._said.turns[:-1], Turn("assistant", generated=self._reply))
        self._said = dataclasses.replace(self._said, turns=turns)

    def forget(self, turns: int = 1) -> None:
        """Forgets the oldest turns, a question and its reply each, to make room in the model's context.

        Raises:
          InputError: there are not so many turns, or a reply is being made.
        """
        self._check_idle()
        if not 0 <= turns <= len(self):
            raise InputError(f"chat: forget {turns} turns; there are {len(self)}")
        self._said = dataclasses.replace(self._said, turns=self._said.turns[2 * turns :])

    def _check_idle(self) -> None:
        if self._streaming:
            raise InputError("chat: a reply is being streamed; take it to its end, or close the stream")

    def _prompt(
        self, question: Question | Listener, rate: int, instruction: str
    ) -> tuple[Conversation, Example, Codec | None]:
        """The conversation with a question, as a prompt, and the codec if the model answers aloud."""
        self._check_idle()
        model, number = self._model, str(self._number)
        features = None
        if isinstance(question, Listener):
            (question, features), rate = question.close(), RATE
        heard = "t" if isinstance(question, str) else "s"
        mode = mode_of(question, f"{heard}2{self._answers}")
        one = single_turn(number, question, rate, mode, instruction, self._said.system)
        for remark in model.remarks_on([one]):
            warnings.warn(remark, stacklevel=3)
        if features is not None:
            one = dataclasses.replace(one, turns=(dataclasses.replace(one.turns[0], mel=features),))
        codec = model.codec if self._answers == "s" or (heard == "s" and model.config.user_audio == "tokens") else None
        (one,) = add_features([one], codec, model.config)
        asked = dataclasses.replace(one, turns=(*self._said.turns, *one.turns))
        try:
            prompt = prompt_of(asked, model.tokenizer, model.config, self._decoding.max_steps)
        except InputError as error:
            if not len(self):
                raise
            raise InputError(
                f"chat: the question and the {len(self)} turns before it do not fit; call forget(), or begin another "
                f"chat ({error})"
            ) from error
        return asked, prompt, codec if self._answers == "s" else None

    def _begin(self, asked: Conversation, prompt: Example) -> Slots:
        self._check_idle()
        if asked.turns[:-1] != self._said.turns:
            raise InputError("chat: something else was said since this stream was asked for; ask again")
        key = fold(self._keys, self._number)
        model, decoding = self._model, self._decoding
        return take_up(model.module, model.params, prompt, requests(decoding, key), decoding, self._parked)

    def _pieces(self, asked: Conversation, prompt: Example, spoken: SpeechStream | None) -> Iterator[Piece]:
        model, part = self._model, None
        begun = self._begin(asked, prompt)
        self._streaming = True
        try:
            for part in stream(model.module, model.params, begun, model.tokenizer, self._decoding):
                wave = np.zeros(0, np.float32)
                if spoken is not None:
                    wave = spoken.push(part.units)
                    if part.last:
                        wave = np.concatenate([wave, spoken.finish()])
                yield Piece(part.text, wave, part.units, part.last, part.finished)
        finally:
            self._streaming = False
            if part is not None:
                self._remember(asked, prompt, part)

    def _remember(self, asked: Conversation, prompt: Example, part: Part) -> None:
        config = self._model.config
        self._number += 1
        self._reply = closed(part.reply, config.special)
        self._said = dataclasses.replace(asked, turns=(*asked.turns, Turn("assistant", generated=self._reply)))
        self._parked = Parked(part.slots, 0, encode(self._said, self._model.tokenizer, config), len(prompt))
