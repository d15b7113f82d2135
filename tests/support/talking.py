"""A tiny model that talks, what it answers when it is alone, and what an engine answers."""

import asyncio
import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
from initial import initial_params
from toy_world import UNITS

from fac_jax.api import Model
from fac_jax.batching.collate import collate
from fac_jax.batching.conversation import Conversation, GeneratedReply, Turn
from fac_jax.batching.features import add_features
from fac_jax.batching.grid import encode, windows_of
from fac_jax.codec.unit_codec import UnitCodec, UnitCodecConfig
from fac_jax.codec.unit_pool import BINS, STACK
from fac_jax.generation.engine import advance, prefill
from fac_jax.generation.sampling import Sampling, fold
from fac_jax.generation.slots import Decoding, requests
from fac_jax.models.config import ModelConfig
from fac_jax.serving.engine import EngineConfig, TalkEngine
from fac_jax.serving.talk import Audio, Began, Deliver, Ended, Event, Handle, Step, TalkRequest
from fac_jax.text.tokenizer import Tokenizer

CONTEXT, STEPS = 192, 16
SETTINGS = EngineConfig(slots=4, prompts=(64,))
WARM = Sampling(temperature=1.2, top_k=12, top_p=0.95, repetition_penalty=1.1)
PENALTY = Sampling(repetition_penalty=1.3)
WAVES = [np.sin(np.arange(n, dtype=np.float32) / d) * 0.3 for n, d in ((16000, 20), (40000, 31), (9000, 11))]
TEXTS = ["what is two plus three", "one", "and what is zero minus two plus one minus one"]


def talker(config: ModelConfig, tokenizer: Tokenizer, folder: Path) -> Model:
    """A model of ours, with a codec of random units that speaks quickly.

    Its weights let the past speak; some of its replies end before the limit, and some speak to their end.
    """
    centroids = np.random.default_rng(0).standard_normal((UNITS, STACK * BINS)).astype(np.float32)
    UnitCodec(centroids, UnitCodecConfig(units=UNITS, iterations=1)).save(folder)
    config = dataclasses.replace(config, context=CONTEXT)
    params = jax.tree.map(lambda leaf: 3 * leaf, initial_params(config, 14))
    rows = params["backbone"]["unembed"]["embedding"]
    params["backbone"]["unembed"]["embedding"] = rows.at[config.special.eos].multiply(1.5)
    return Model(config, params, tokenizer, folder)


def said(*turns: Turn, system: str = "You listen.") -> Conversation:
    return Conversation("0", system, turns)


def asks(question: np.ndarray | str) -> Turn:
    return Turn("user", question) if isinstance(question, str) else Turn("user", wave=question)


def answered(reply: GeneratedReply) -> Turn:
    return Turn("assistant", generated=reply)


def request(conversation: Conversation, spoken: bool = True, limit: int = STEPS, **options: Any) -> TalkRequest:
    return TalkRequest(conversation, spoken, limit, **options)


@functools.cache
def _alone(
    model: Model, conversation: Conversation, spoken: bool, limit: int, seed: int, text: Sampling, speech: Sampling
) -> tuple[list[int], list[list[int]]]:
    (filled,) = add_features([conversation], model.codec, model.config)
    prompt = encode(filled, model.tokenizer, model.config, add_generation_prompt=True)
    windows = sum(windows_of(mel, model.config.n_window) for mel in prompt.mels)
    batch = collate([prompt], 1, CONTEXT, max(32, windows), model.config)
    decoding = Decoding("joint" if spoken else "text", STEPS, text=text, speech=speech)
    wanted = requests(decoding, fold(jax.random.key(seed)[None], 0), limit)
    sizes = {"length": CONTEXT + STEPS, "max_steps": STEPS, "joint": spoken, "draws": True}
    slots = prefill(model.module, model.params, batch, wanted, **sizes)
    slots = advance(model.module, model.params, slots, STEPS, False, draws=True)
    groups = [] if slots.speech is None else slots.speech.ids[0, : int(slots.speech.count[0])].tolist()
    return slots.ids[0, : int(slots.count[0])].tolist(), groups


def alone(model: Model, request: TalkRequest) -> tuple[list[int], list[list[int]]]:
    """Text ids and groups of the reply to a request that is the only one."""
    one = request
    return _alone(model, one.conversation, one.spoken, one.limit, one.seed, one.text, one.speech)


@functools.cache
def spoken(model: Model, units: tuple[int, ...]) -> np.ndarray:
    """What the codec says of units as they come."""
    stream = model.codec.stream()
    return np.concatenate([stream.push(np.array(units, np.int32)), stream.finish()])


@dataclasses.dataclass(eq=False)
class Told:
    """What an engine has told of a request."""

    request: TalkRequest
    events: list[Event] = dataclasses.field(default_factory=list)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def began(self) -> Began:
        (began,) = self.of(Began)
        return began

    @property
    def end(self) -> Ended:
        (end,) = self.of(Ended)
        assert end is self.events[-1]
        return end

    @property
    def reply(self) -> GeneratedReply:
        assert self.end.reply is not None
        return self.end.reply

    @property
    def text_ids(self) -> list[int]:
        return [step.text_id for step in self.of(Step)]

    @property
    def units(self) -> list[int]:
        return [int(unit) for step in self.of(Step) for unit in step.units]

    @property
    def wave(self) -> np.ndarray:
        return np.concatenate([np.zeros(0, np.float32), *(audio.samples for audio in self.of(Audio))])

    def check(self, model: Model) -> None:
        """It is what the model answers alone, or the beginning of it."""
        text, groups = alone(model, self.request)
        units = [unit for group in groups for unit in group if unit < UNITS]
        assert [step.number for step in self.of(Step)] == list(range(len(self.text_ids)))
        if self.end.reason in ("stop", "limit"):
            assert (self.text_ids, self.units) == (text, units)
            assert self.end.reason == ("stop" if model.config.special.eos in text else "limit")
            assert "".join(step.text for step in self.of(Step)) == model.tokenizer.decode(text).strip()
            np.testing.assert_array_equal(self.wave, spoken(model, tuple(units)))
        else:
            assert self.text_ids == text[: len(self.text_ids)] and self.units == units[: len(self.units)]


class Asked(Told):
    """A request to an engine, in a running loop; `cancel_after` steps it is cancelled."""

    def __init__(self, engine: TalkEngine, request: TalkRequest, cancel_after: int | None = None) -> None:
        super().__init__(request)
        self._over, self._cancel_after = asyncio.Event(), cancel_after
        deliver: Deliver = self._deliver
        self.handle: Handle = engine.submit(request, deliver)
        if cancel_after == 0:
            self.handle.cancel()

    def _deliver(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Step) and len(self.text_ids) == self._cancel_after:
            self.handle.cancel()
        if isinstance(event, Ended):
            self._over.set()

    async def over(self) -> "Asked":
        await asyncio.wait_for(self._over.wait(), 60)
        return self


def answer(engine: TalkEngine, wanted: TalkRequest, cancel_after: int | None = None) -> Asked:
    """Asks in a loop of its own, and waits for the end."""

    async def asked() -> Asked:
        return await Asked(engine, wanted, cancel_after).over()

    return asyncio.run(asked())
