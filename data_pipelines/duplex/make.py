"""Makes calls of dialogues: a pure function of a dialogue, a config and a seed."""

import dataclasses
import zlib

import numpy as np
from jaxtyping import Float32

from data_pipelines.duplex.channel import ChannelConfig, heard, played
from data_pipelines.duplex.dialogue import Dialogue
from data_pipelines.duplex.events import EventsConfig
from data_pipelines.duplex.plan import Planner, quiet
from data_pipelines.duplex.timeline import Timeline
from fac_jax.duplex.call import SLOT_SECONDS, EventKind
from fac_jax.text.prompts import GREET, SYSTEM_DUPLEX
from fac_jax.types import InputError

PLAN, SOUND = range(2)  # generators of one call: a change of its channel leaves its events as they are


@dataclasses.dataclass(frozen=True)
class CallsConfig:
    """Everything that calls depend on besides their dialogues.

    Attributes:
      seed: of every draw, together with a dialogue's id.
      slots: least and most slots of a call.
      delay_groups: groups of speech bos of a turn, as in the model (`ModelConfig.delay_groups`).
      events: how often things happen.
      channel: what is done to the user's channel.
    """

    seed: int = 0
    slots: tuple[int, int] = (60, 160)
    delay_groups: int = 2
    events: EventsConfig = EventsConfig()
    channel: ChannelConfig = ChannelConfig()

    def __post_init__(self) -> None:
        if not 1 <= self.slots[0] <= self.slots[1]:
            raise InputError(f"slots is {self.slots}: give the least and the most slots of a call, at least 1")
        if self.delay_groups < 0:
            raise InputError(f"delay_groups is {self.delay_groups}; it is at least 0")


@dataclasses.dataclass(frozen=True, eq=False)
class MadeCall:
    """A call with its two channels.

    Attributes:
      id: the dialogue's.
      system: system prompt.
      line: what happens when.
      user: channel of the user, float32 `[line.slots * SLOT]`.
      assistant: channel of the assistant, as long.
    """

    id: str
    system: str
    line: Timeline
    user: Float32[np.ndarray, " N"]
    assistant: Float32[np.ndarray, " N"]


def make_call(dialogue: Dialogue, config: CallsConfig) -> MadeCall | None:
    """Makes the call of a dialogue, the same at every time and on every machine.

    Some calls are silent, or have noise only (`EventsConfig.quiet`). Of the others, the ones that the assistant is to
    begin say so in their system prompt.

    Returns:
      None if not one exchange fits the slots that were drawn.
    """
    rng = _generator(config.seed, dialogue.id, PLAN)
    drawn, most = config.events, int(rng.integers(config.slots[0], config.slots[1] + 1))
    if rng.random() < drawn.quiet.probability:
        slots, noisy = round(drawn.quiet.seconds / SLOT_SECONDS), bool(rng.random() < drawn.quiet.noise)
        return _with_sound(dialogue.id, SYSTEM_DUPLEX, quiet(slots, noisy, config.delay_groups), config)
    greeted = bool(dialogue.extras.greetings) and rng.random() < drawn.greeting.probability
    line = Planner(drawn, config.delay_groups, (config.slots[0], most), rng).plan(dialogue, greeted)
    system = f"{SYSTEM_DUPLEX} {GREET}" if greeted else SYSTEM_DUPLEX
    return None if line is None else _with_sound(dialogue.id, system, line, config)


def _with_sound(name: str, system: str, line: Timeline, config: CallsConfig) -> MadeCall:
    channel, assistant = config.channel, played(line)
    if not line.sounds and not line.turns:
        noisy = any(event.kind == EventKind.NOISE_ONLY for event in line.events)
        noise = dataclasses.replace(channel.noise, probability=float(noisy))
        channel = dataclasses.replace(channel, noise=noise, pieces=0.0)
    user = heard(line, assistant, channel, _generator(config.seed, name, SOUND))
    return MadeCall(name, system, line, user, assistant)


def _generator(seed: int, name: str, number: int) -> np.random.Generator:
    return np.random.default_rng((seed, zlib.crc32(name.encode()), number))
