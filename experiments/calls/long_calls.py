"""Calls of many minutes: what a tick takes and how much memory there is, early and late, and what is said meanwhile."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import psutil

from experiments.calls.scripted import Scripted
from fac_jax.api import Model
from fac_jax.audio.mel import RATE
from fac_jax.duplex.call import SLOT, SLOT_SECONDS
from fac_jax.evaluation.benchmarks.duplex.voice_activity import VoiceActivity
from fac_jax.evaluation.calls.as_trained import Agreement, as_trained
from fac_jax.evaluation.calls.base import Scenario
from fac_jax.generation.duplex.calls import Calls
from fac_jax.generation.duplex.finished import Finished
from fac_jax.models.fun_audio_chat import FunAudioChat
from fac_jax.types import InputError, Params

SOURCES: Final[Mapping[str, Scenario]] = {"silence": "silence", "noise": "noise_only", "monologue": "clean_turn"}
PART: Final = round(60 / SLOT_SECONDS)  # slots of a minute


@dataclasses.dataclass(frozen=True)
class Part:
    """Ticks of a minute.

    Attributes:
      tick_median: milliseconds.
      tick_p99: milliseconds that 99 in 100 ticks stay within.
      memory: bytes of the process at its end.
    """

    tick_median: float
    tick_p99: float
    memory: int


@dataclasses.dataclass(frozen=True)
class LongCall:
    """A long call.

    Attributes:
      minutes: how long it is.
      wrapped: how often the ring of the Shared LLM was filled.
      starts: turns of the assistant that are heard.
      parts: its minutes in order.
      trained: how much of it is what training reads.
    """

    minutes: float
    wrapped: float
    starts: int
    parts: tuple[Part, ...]
    trained: Agreement

    def __str__(self) -> str:
        """Says all of it in a line; the first minute is left out where there are others."""
        early, late = self.parts[min(1, len(self.parts) - 1)], self.parts[-1]
        return (
            f"{self.minutes:g} min, ring filled {self.wrapped:.1f} times, {self.starts} starts; tick "
            f"{early.tick_median:.1f} ms (p99 {early.tick_p99:.1f}) early, {late.tick_median:.1f} (p99 "
            f"{late.tick_p99:.1f}) late; memory {early.memory / 1e6:.0f} MB, {late.memory / 1e6:.0f} MB; as trained: "
            f"{self.trained.same_text} of {self.trained.slots} text ids, {self.trained.same_groups} of "
            f"{self.trained.talking} groups"
        )


def users(scripted: Sequence[Scripted], detector: VoiceActivity, minutes: float) -> dict[str, np.ndarray]:
    """Returns the users' channels by name, each so many minutes of whole slots.

    Silence and noise are the users' channels of the scenarios without speech, one after the other. The monologue is
    what users say in "clean_turn" without the silence between, so that nobody else has a turn.

    Raises:
      InputError: a user's channel cannot be read, or has no speech.
    """
    samples = max(1, round(minutes * 60 / SLOT_SECONDS)) * SLOT

    def of(scenario: Scenario, only_speech: bool) -> np.ndarray:
        found, length = [], 0
        for one in itertools.cycle([each for each in scripted if each.scenario == scenario]):
            wave = one.user()
            if only_speech:
                parts = [wave[round(s.start * RATE) : round(s.end * RATE)] for s in detector(wave, RATE)]
                if not parts:
                    raise InputError(f"{one.record.file}, line {one.record.line}: the detector hears nobody speak")
                wave = np.concatenate(parts)
            found.append(wave)
            length += len(wave)
            if length >= samples:
                return np.concatenate(found)[:samples]
        raise InputError(f"there is no call of scenario {scenario}")

    return {name: of(scenario, name == "monologue") for name, scenario in SOURCES.items()}


def long_call(
    model: Model, params: Params, system: str, user: np.ndarray, advance: Callable[[int], object]
) -> LongCall:
    """Runs a call alone, as fast as it goes.

    Args:
      model: full-duplex.
      params: its parameters in the form of training.
      system: system prompt.
      user: the user's channel at 16 kHz, of whole slots.
      advance: is called with the number of slots that were run.
    """
    duplex = model.config.duplex
    assert duplex is not None
    calls, process = Calls(model.module, model.params, model.tokenizer, 1), psutil.Process()
    calls.warm_up()
    call = calls.join(system)
    assert call is not None
    while calls.waiting:
        calls.work(math.inf)
    assert call.next is not None
    steps, seconds, memory = [call.next], [], []
    for number, block in enumerate(user.reshape(-1, SLOT)[:-1], 1):
        begin = time.perf_counter()
        steps.append(calls.tick({call: block})[call])
        seconds.append(time.perf_counter() - begin)
        if number % PART == 0 or number == len(user) // SLOT - 1:
            memory.append(process.memory_info().rss)
        advance(1)
    finished = Finished(tuple(steps), call.record.all_turns(len(steps)))
    return LongCall(
        minutes=len(steps) * SLOT_SECONDS / 60,
        wrapped=len(steps) / duplex.window,
        starts=sum(len(turn.groups) > 0 for turn in finished.turns),
        parts=tuple(_part(seconds[PART * number :][:PART], held) for number, held in enumerate(memory)),
        trained=as_trained(FunAudioChat(model.config), params, model.tokenizer, system, user, finished),
    )


def _part(seconds: Sequence[float], memory: int) -> Part:
    median, p99 = 1000 * np.percentile(seconds, (50, 99))
    return Part(float(median), float(p99), memory)
