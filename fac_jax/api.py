"""A trained model to talk with from Python: waves or texts in, text and speech out."""

import copy
import functools
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypedDict, Unpack, overload

import numpy as np
from etils import epath

from fac_jax.audio.io import RATE
from fac_jax.audio.remarks import FILE as HEARD
from fac_jax.audio.remarks import Heard, faults
from fac_jax.batching.conversation import Conversation
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import Example
from fac_jax.batching.prompt import prompt_of
from fac_jax.batching.question import Mode, Question, check_mode, mode_of, single_turn
from fac_jax.chat import Chat, Piece, Reply
from fac_jax.checkpoint.adapters.adapter import put_adapter
from fac_jax.checkpoint.adapters.base import base_digest
from fac_jax.checkpoint.adapters.load import read_adapter
from fac_jax.checkpoint.export import CODEC, local_assets
from fac_jax.checkpoint.opened import find_model, open_model
from fac_jax.codec.base import FILE, Codec, load_codec
from fac_jax.generation.prepared import prepare, with_adapter
from fac_jax.generation.respond import Response, respond
from fac_jax.generation.sampling import Sampling
from fac_jax.generation.slots import Decoding
from fac_jax.models.config import ModelConfig
from fac_jax.parallel.kernels import Quantized
from fac_jax.text.tokenizer import Tokenizer
from fac_jax.types import InputError, Params

ROWS: Final = 8  # conversations that are answered together


class ChatOptions(TypedDict, total=False):
    """Options of `Model.chat`, described there and at `Model.respond`."""

    system: str | None
    max_steps: int
    temperature: float
    top_p: float
    repetition_penalty: float
    seed: int


class Options(ChatOptions, total=False):
    """Options of `Model.respond`, described there."""

    instruction: str


class Model:
    """A trained model with its tokenizer and its codec; `fac_jax.load` makes one.

    Attributes:
      config: its configuration.
      tokenizer: its tokenizer.
      module: the model in the form of generation (`generation.prepared`).
      params: its parameters in that form.
      heard: the waves that it was trained to hear; None where that is not known, as for releases.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Params,
        tokenizer: Tokenizer,
        codec_folder: Path,
        quantize: Quantized | None = None,
        quantize_tables: bool = False,
    ) -> None:
        """Prepares trained parameters for generation; the codec is read when a wave is first spoken or encoded."""
        self.config = config
        self.tokenizer = tokenizer
        self.module, self.params = prepare(config, params, None, quantize, quantize_tables)
        self._codec_folder = codec_folder
        self._folder: epath.Path | None = None
        self._replaced = False  # whether an adapter has put in tables of its own
        self.heard: Heard | None = None

    @classmethod
    def load(
        cls,
        folder: str | os.PathLike[str],
        codec: str | os.PathLike[str] | None = None,
        quantize: Quantized | None = None,
        quantize_tables: bool = False,
        adapter: str | os.PathLike[str] | None = None,
        any_base: bool = False,
    ) -> "Model":
        """Reads a model from disk; see `fac_jax.load`."""
        found = find_model(folder)
        params, config = open_model(found)
        path = local_assets(found)
        digest = functools.partial(base_digest, params, config)
        put_on = None if adapter is None else read_adapter(adapter, config, digest, any_base)
        if put_on is not None:
            params = put_adapter(params, put_on)
        codec_folder = Path(codec) if codec is not None else path / CODEC
        model = cls(config, params, Tokenizer.load(path), codec_folder, quantize, quantize_tables)
        model.heard = Heard.load(found / HEARD) if (found / HEARD).exists() else None
        model._folder, model._replaced = found, put_on is not None and bool(put_on.saved)
        return model

    def with_adapter(self, adapter: str | os.PathLike[str], any_base: bool = False) -> "Model":
        """Returns this model with a low-rank adapter in the place of the one that it has, if any; they share the base.

        What was compiled for an adapter serves every other one of the same modules and ranks.

        Args:
          adapter: folder of an adapter in PEFT's format, or a stage that trained one (docs/adapters.md).
          any_base: whether the adapter may have been made for a base with other values.

        Raises:
          InputError: it is none of this model, or it or the present one replaces tables: `fac_jax.load` does that.
        """
        leaves = self.adapter(adapter, any_base)
        other = copy.copy(self)
        other.params = with_adapter(self.params, leaves)
        return other

    def adapter(self, adapter: str | os.PathLike[str], any_base: bool = False) -> Params:
        """Reads the leaves of an adapter of this model (`models.lora`); see `with_adapter`."""
        digest = None if self._folder is None else lambda: self._base_digest
        found = read_adapter(adapter, self.config, digest, any_base)
        if found.saved or self._replaced:
            raise InputError(f"{adapter}: tables are replaced only when a model is loaded: load it with this adapter")
        return found.leaves

    @functools.cached_property
    def _base_digest(self) -> str:
        """`base_digest` of what is stored, which is read once for all adapters; what is prepared has other values."""
        assert self._folder is not None
        return base_digest(open_model(self._folder)[0], self.config)

    def remarks(self, wave: np.ndarray) -> list[str]:
        """Says what may keep the model from hearing a wave, float `[N]` at 16 kHz, such as "is 9.1 s long: ..".

        It may be silent, clipped, longer than anything in training, or far from the levels of training.
        """
        found = [detail for _, detail in faults(wave)]
        return found + (self.heard.remarks(wave) if self.heard is not None else [])

    @functools.cached_property
    def codec(self) -> Codec:
        """The codec that encodes and speaks waves.

        Raises:
          InputError: there is none, a file of it is missing or damaged, or it has other ids than the model.
        """
        if not (self._codec_folder / FILE).is_file():
            raise InputError(f"no codec in {self._codec_folder}: {FILE} not found; name the folder of one of its ids")
        codec = load_codec(self._codec_folder)
        if codec.units != self.config.units:
            raise InputError(f"codec {self._codec_folder} has {codec.units} ids, the model speaks {self.config.units}")
        return codec

    @overload
    def respond(
        self, question: Question, rate: int = ..., mode: Mode | None = ..., **options: Unpack[Options]
    ) -> Reply: ...

    @overload
    def respond(
        self, question: Sequence[Question], rate: int = ..., mode: Mode | None = ..., **options: Unpack[Options]
    ) -> list[Reply]: ...

    def respond(
        self,
        question: Question | Sequence[Question],
        rate: int = RATE,
        mode: Mode | None = None,
        *,
        instruction: str = "",
        system: str | None = None,
        max_steps: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> Reply | list[Reply]:
        """Answers one question, or each of a list, which share nothing.

        The first answer of a length compiles; later ones of the same length are fast. A `UserWarning` says what may
        keep the model from hearing a question (`remarks`), and which replies were cut at `max_steps`.

        Args:
          question: a spoken question, float `[N]`, or a written one, str; or a list of either kind.
          rate: sampling rate of the waves in Hz.
          mode: "s2s" and "s2t" hear a wave, "t2s" and "t2t" read a text; "s2s" and "t2s" answer in text and speech,
            "s2t" and "t2t" in text. None is "s2s" for a wave and "t2t" for a text.
          instruction: text that follows a wave in the same turn.
          system: system prompt; None for the one that the mode was trained with.
          max_steps: most text ids of a reply; one is 200 ms of speech.
          temperature: above 0, speech ids are drawn; text is greedy in any case.
          top_p: speech ids are drawn among the likeliest that together have this probability.
          repetition_penalty: divides the positive logits of speech ids that were spoken before.
          seed: of the draws.

        Returns:
          a reply, or a list of replies in the order of the questions.

        Raises:
          InputError: a question does not suit the mode, is too short or does not fit the context; an option is out of
            its range; speech is wanted or heard as ids and there is no codec.
        """
        speech = Sampling(temperature=temperature, top_p=top_p, repetition_penalty=repetition_penalty)
        single = isinstance(question, np.ndarray | str)
        questions: list[Question] = [question] if single else list(question)
        if not questions:
            return []
        mode = mode_of(questions[0], mode)
        asked = [single_turn(str(i), q, rate, mode, instruction, system) for i, q in enumerate(questions)]
        decoding = Decoding("joint" if mode.endswith("2s") else "text", max_steps, speech=speech)
        for remark in self.remarks_on(asked):
            warnings.warn(remark, stacklevel=2)
        replies = list(self.respond_to(asked, decoding, seed))
        for i, reply in enumerate(replies):
            if not reply.finished:
                warnings.warn(f"reply {i} was cut at max_steps={max_steps}", stacklevel=2)
            if mode.endswith("2s") and not reply.units.size:
                warnings.warn(f"reply {i} has no speech", stacklevel=2)
        return replies[0] if single else replies

    def stream(
        self,
        question: Question,
        rate: int = RATE,
        mode: Mode | None = None,
        *,
        instruction: str = "",
        **options: Unpack[ChatOptions],
    ) -> Iterator[Piece]:
        """Answers one question piece by piece, while the rest is still being made.

        The texts and units of all pieces, one after the other, are those of `respond`. Their waves are as long as that
        of `respond`, and sound alike, not equal, where they are joined. Leaving the loop ends the reply. No warning
        tells that a reply was cut; `finished` of the last piece does.

        The arguments are those of `respond`.

        Raises:
          InputError: see `respond`; before the first piece.
        """
        if not isinstance(question, np.ndarray | str):
            raise InputError("stream answers one question: give a wave or a text, no list")
        mode = mode_of(question, mode)
        check_mode("0", question, mode)
        return self.chat(mode.endswith("2s"), **options).stream(question, rate, instruction=instruction)

    def chat(
        self,
        spoken: bool = True,
        *,
        system: str | None = None,
        max_steps: int = 64,
        temperature: float = 0.0,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> Chat:
        """Begins a conversation of several turns, in which the model remembers what was said.

        Args:
          spoken: whether it answers in text and speech, or in text alone; questions are waves or texts in both.

        The other arguments are those of `respond`.

        Raises:
          InputError: an option is out of its range.
        """
        speech = Sampling(temperature=temperature, top_p=top_p, repetition_penalty=repetition_penalty)
        return Chat(self, Decoding("joint" if spoken else "text", max_steps, speech=speech), system, seed)

    def respond_to(
        self,
        conversations: Sequence[Conversation],
        decoding: Decoding,
        seed: int,
        rows: int = ROWS,
        numbers: Sequence[int] | None = None,
    ) -> Iterator[Reply]:
        """Answers conversations that end with a user's turn, in their order.

        Args:
          conversations: waves at 16 kHz; their ids name them in messages.
          decoding: how to answer; stream "joint" answers in text and speech.
          seed: of the draws; the key of a conversation follows from it and the conversation's number.
          rows: conversations that are answered side by side, at most.
          numbers: of the conversations; 0, 1, .. if not given.

        Raises:
          InputError: see `respond`; before anything is answered.
        """
        prompts, codec = self._prompts(conversations, decoding)
        rows = min(len(prompts), rows)
        found = respond(
            self.module, self.params, prompts, self.tokenizer, decoding, rows=rows, seed=seed, numbers=numbers
        )
        return self._replies(found, codec)

    def _replies(self, found: Iterable[Response], codec: Codec | None) -> Iterator[Reply]:
        for one in found:
            wave = codec.decode(one.units) if codec is not None and one.units.size else np.zeros(0, np.float32)
            yield Reply(one.text, wave, codec.rate if codec is not None else RATE, one.units, one.finished)

    def remarks_on(self, conversations: Iterable[Conversation]) -> Iterator[str]:
        """Says the `remarks` on all waves of conversations, which it names."""
        for one in conversations:
            for turn in one.turns:
                if turn.wave is not None:
                    yield from (f"question {one.id} {remark}" for remark in self.remarks(turn.wave))

    def _prompts(self, conversations: Sequence[Conversation], decoding: Decoding) -> tuple[list[Example], Codec | None]:
        """The prompts of conversations, and the codec where it speaks or hears."""
        joint = decoding.stream == "joint"
        heard = self.config.user_audio == "tokens" and any(t.wave is not None for c in conversations for t in c.turns)
        codec = self.codec if joint or heard else None
        filled = add_features(conversations, codec, self.config)
        return [prompt_of(one, self.tokenizer, self.config, decoding.max_steps) for one in filled], codec
