"""The engine of a server, as the asyncio side sees it (`fac_jax.serving.talk.Engine`)."""

import logging
import time
from collections.abc import Mapping
from typing import Final

import numpy as np

from fac_jax.api import Model
from fac_jax.audio.io import RATE
from fac_jax.batching import generated, grid
from fac_jax.batching.conversation import Conversation, GeneratedReply, Turn
from fac_jax.codec.base import TOKEN_RATE, Codec
from fac_jax.generation.listening import encodes_as_it_comes
from fac_jax.generation.several import with_adapters
from fac_jax.models.lora import adapter_of
from fac_jax.serving.engine.compilations import Compilations
from fac_jax.serving.engine.config import EngineConfig
from fac_jax.serving.engine.core import Core
from fac_jax.serving.engine.device import Device, greatest_slots
from fac_jax.serving.engine.ears import Ears
from fac_jax.serving.engine.handle import Handle
from fac_jax.serving.engine.hearing import Hearing, Whole
from fac_jax.serving.engine.talks import Made, Talk
from fac_jax.serving.engine.voices import Voices, names_of
from fac_jax.serving.engine.warm import warm_up
from fac_jax.serving.engine.worker import Worker
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.talk import Deliver, TalkRequest
from fac_jax.types import InputError, Params

DEFAULT: Final = EngineConfig()
NONE: Final[Mapping[str, Params]] = {}

_log = logging.getLogger(__name__)


class TalkEngine:
    """An `Engine` (`fac_jax.serving.talk`); `make_engine` makes one.

    Attributes:
      model: see `Engine`; so are `models`, `rate`, `heard_rate`, `voices` and `context`.
      compilations: programs that were compiled after the warm-up.
    """

    heard_rate: int = RATE

    def __init__(
        self, model: Model, name: str, config: EngineConfig, metrics: Metrics, adapters: Mapping[str, Params]
    ) -> None:
        """Reads the codec; the device is not touched before `warm_up`."""
        self.model, self.models = name, (name, *adapters)
        self.context = config.context or model.config.context
        if self.context > model.config.context:
            raise InputError(f"context={self.context}: the model has a context of {model.config.context} positions")
        self._model, self._config, self._metrics, self._special = model, config, metrics, model.config.special
        self._params = _with_adapters(model, adapters)
        self._codec = _codec(model)
        self.rate = RATE if self._codec is None else self._codec.rate
        self.voices = names_of(self._codec)
        self.compilations = Compilations(metrics.compilations)
        self._ears = Ears(model, config.heard_bytes)
        metrics.heard_bytes.set_function(lambda: self._ears.bytes)
        self._header = _header_positions(model)
        self._worker = Worker(self._core, self._special)

    def start(self) -> None:
        """Starts the thread, which compiles everything first; `ready` says when that is done."""
        self._worker.start()

    def warm_up(self) -> None:
        """Starts the thread, and waits until everything is compiled.

        Raises:
          Exception: what kept the engine from it.
        """
        self._worker.start()
        self._worker.wait()

    def stop(self) -> None:
        """Ends all requests, as failed, and the thread."""
        self._worker.stop()

    @property
    def ready(self) -> bool:
        """See `Engine`."""
        return self._worker.ready

    @property
    def alive(self) -> bool:
        """See `Engine`; true during the warm-up, and false for good after the second fault."""
        return self._worker.alive

    @property
    def kept(self) -> int:
        """Returns the number of sessions of which something is kept, on the device or on the host."""
        return self._worker.kept

    def submit(self, request: TalkRequest, deliver: Deliver) -> Handle:
        """See `Engine`."""
        heard = self._ears.heard(request.conversation)
        forced = self._model.tokenizer.encode(request.forced)
        self._check(request, self._positions(heard.conversation), len(forced))
        made, adapter = Made(self._model.config.group_size, forced), self._adapter(request)
        talk = Talk(request, heard, made, time.monotonic(), request.session, adapter=adapter)
        worker = self._worker
        handle = Handle(talk, deliver, self._special, lambda: worker.do(lambda core: core.cancel(talk)))
        talk.tell = lambda event: worker.tell(handle, event)
        worker.do(lambda core: core.submit(talk))
        return handle

    def listen(self) -> Hearing | Whole:
        """See `Engine`."""
        if not encodes_as_it_comes(self._model.config):
            return Whole()
        return Hearing(self._model, lambda act: self._worker.do(lambda _: act()))

    def positions(self, conversation: Conversation) -> int:
        """See `Engine`."""
        return self._positions(self._ears.heard(conversation).conversation)

    def cut(self, reply: GeneratedReply, seconds: float) -> GeneratedReply:
        """See `Engine`."""
        spoken = np.cumsum(np.sum(reply.groups < self._model.config.units, axis=1))
        groups = int(np.searchsorted(spoken, seconds * TOKEN_RATE)) + 1 if seconds > 0 else 0
        return generated.cut(reply, groups, self._special)

    def text_of(self, reply: GeneratedReply) -> str:
        """See `Engine`."""
        return self._model.tokenizer.decode(reply.text_ids.tolist()).strip()

    def forget(self, session: str) -> None:
        """See `Engine`."""
        self._worker.do(lambda core: core.forget(session))

    def _positions(self, conversation: Conversation) -> int:
        return _positions(self._model, conversation) + self._header

    def _adapter(self, request: TalkRequest) -> int:
        """Returns the number of the adapter of the model that a request names."""
        if request.model is None:
            return 0
        if request.model not in self.models:
            raise InputError(f"unknown model {request.model!r}; known: {', '.join(self.models)}")
        return self.models.index(request.model)

    def _check(self, request: TalkRequest, positions: int, forced: int) -> None:
        turns = request.conversation.turns
        if not turns or turns[-1].role != "user":
            raise InputError("the conversation does not end with a user's turn")
        if request.limit < 1:
            raise InputError(f"limit={request.limit}: give at least 1")
        if request.spoken and self._codec is None:
            raise InputError(f"the model {self.model} has no codec: it cannot speak")
        if request.voice is not None and request.voice not in self.voices:
            raise InputError(f"unknown voice {request.voice!r}; known: {', '.join(self.voices)}")
        if forced and request.spoken:
            raise InputError("the beginning of a spoken reply cannot be forced")
        if positions + max(request.limit, forced + 1) > self.context:
            raise InputError(
                f"the conversation takes {positions} LLM positions, and its reply up to {request.limit}: the context "
                f"has {self.context}"
            )

    def _core(self) -> Core:
        """Makes the slots and the places of the codec, and compiles everything; called by the thread."""
        model, config, joint = self._model, self._config, self._codec is not None
        slots = config.slots or greatest_slots(model.module, self.context, joint)
        device = Device(model.module, self._params, slots, self.context, joint)
        voices = Voices(self._codec, config.places or 2 * slots, self._metrics.codec.observe)
        warm_up(model, device, self._ears, voices, config.sizes(self.context))
        self.compilations.begin()
        return Core(model, self._ears, voices, device, config, self._metrics)


def make_engine(
    model: Model,
    name: str,
    config: EngineConfig = DEFAULT,
    metrics: Metrics | None = None,
    adapters: Mapping[str, Params] = NONE,
) -> TalkEngine:
    """Makes the engine of a server; `warm_up` makes it ready, and `stop` ends it.

    Args:
      model: what `fac_jax.load` returns.
      name: of the model, as clients see it.
      metrics: of the server; None for some that nobody sees.
      adapters: leaves (`Model.adapter`) by the names of models that are the base with an adapter. Their replies are
        made together with those of the base, by the same programs.

    Raises:
      InputError: the model hears ids of a codec and has none, or `config.context` is longer than that of the model; an
        adapter has the name of the model, or cannot be served beside others (`generation.several`).
    """
    if name in adapters:
        raise InputError(f"{name} is the name of the base: give its adapter another one")
    return TalkEngine(model, name, config, Metrics() if metrics is None else metrics, adapters)


def _with_adapters(model: Model, adapters: Mapping[str, Params]) -> Params:
    """Returns the parameters of a model with adapters beside it."""
    if not adapters:
        return model.params
    if adapter_of(model.params):
        raise InputError("the model has an adapter itself: others beside it would change it; name it among them")
    return with_adapters(model.params, adapters, model.config.dtype)


def _codec(model: Model) -> Codec | None:
    """Returns the codec of a model; None if it has none, and needs none to hear."""
    try:
        return model.codec
    except InputError as error:
        if model.config.user_audio == "tokens":
            raise
        _log.warning("the model answers in text alone: %s", error)
        return None


def _positions(model: Model, conversation: Conversation) -> int:
    return grid.positions(conversation, model.tokenizer, model.config.group_size, model.config.delay_groups)


def _header_positions(model: Model) -> int:
    """Returns the positions of the beginning of an assistant's turn, with which a prompt ends."""
    said = Conversation("0", "", (Turn("user", "a"),))
    whole = grid.encode(said, model.tokenizer, model.config, add_generation_prompt=True)
    return len(whole) - _positions(model, said)
