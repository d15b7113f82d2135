"""What the engine's thread does in every turn of its loop, without the thread (docs/serving.md)."""

import time
from collections.abc import Callable

import numpy as np

from fac_jax.api import Model
from fac_jax.serving.engine.config import EngineConfig
from fac_jax.serving.engine.device import Device
from fac_jax.serving.engine.ears import Ears
from fac_jax.serving.engine.outputs import Outputs
from fac_jax.serving.engine.programs import TOLD
from fac_jax.serving.engine.prompting import Prompting
from fac_jax.serving.engine.sessions import Sessions
from fac_jax.serving.engine.talks import Talk
from fac_jax.serving.engine.voices import Voices
from fac_jax.serving.engine.waiting import Waiting
from fac_jax.serving.metrics import Metrics
from fac_jax.serving.talk import Audio, Began
from fac_jax.types import InputError, Kind

NAP_S = 0.02  # between turns in which nothing can go on, while requests wait or replies pause
REST_S = 1.0  # between turns without any request
PROMPTS_FIRST = 4  # that begin before one step, at most


class Core:
    """Replies in slots. Every method is called by one thread, which alone touches the device.

    A turn (`turn`) runs at most one piece of a prompt, then asks for one step of all slots, unless another prompt may
    go first, and reads what the step before has made while the device works: the device never waits for the host.

    Attributes:
      sessions: what is kept of conversations.
      waiting: requests without a slot.
    """

    def __init__(
        self,
        model: Model,
        ears: Ears,
        voices: Voices,
        device: Device,
        config: EngineConfig,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begins with empty slots."""
        self._model, self._voices, self._device = model, voices, device
        self._config, self._metrics, self._clock = config, metrics, clock
        self._special = model.config.special
        self.sessions = Sessions(device, model.config, config.host_bytes)
        self._prompts = Prompting(model, ears, device, self.sessions, config, clock)
        self.waiting = Waiting(config.queue_s)
        self._prompt: Talk | None = None  # whose prompt is run
        self._begun = 0  # prompts since the last step
        self._made: dict[int, Talk] = {}  # by slot
        self._outputs = Outputs(metrics, clock)
        metrics.kv_bytes_reserved.set(device.reserved_bytes)

    @property
    def used(self) -> int:
        """Returns the number of slots that hold a reply."""
        return len(self._made) + (self._prompt is not None)

    @property
    def room(self) -> bool:
        """Returns whether so few requests wait that more talks may come."""
        return self._fits(self._config.queue_ready)

    def _fits(self, queue: int) -> bool:
        """Returns whether a slot is free for another request, or a place in a queue of so many for each slot."""
        return len(self.waiting) < self.sessions.free + queue * self._device.slots

    @property
    def _begins(self) -> bool:
        """Returns whether the next turn begins another prompt."""
        return self._prompt is None and len(self.waiting) > 0 and self.sessions.free > 0

    @property
    def _starts(self) -> bool:
        """Returns whether a prompt can be run."""
        return self._prompt is not None or self._begins

    @property
    def wait_s(self) -> float:
        """Returns for how many seconds the next turn has nothing to do, unless a command comes."""
        if self._starts or self._outputs or self._voices.waiting or self._going():
            return 0.0
        return NAP_S if self.waiting or self._made else REST_S

    def submit(self, talk: Talk) -> None:
        """Takes a request."""
        if self._fits(self._config.queue):
            self.waiting.add(talk)
        else:
            talk.end("full", self._special)

    def cancel(self, talk: Talk) -> None:
        """Ends a reply; only its end is told."""
        if talk.stage == "over":
            return
        if talk.stage == "waiting":
            self.waiting.remove(talk)
        self._leave(talk)
        self._voices.stop(talk)
        talk.end("cancelled", self._special)

    def forget(self, session: str) -> None:
        """Frees what is kept of a session, now and when its requests that are under way have ended."""
        self.sessions.forget(session)
        for talk in (*self.waiting, *self._in_slots()):
            if talk.session == session:
                talk.session = None

    def turn(self, between: Callable[[], None] = lambda: None) -> None:
        """Goes on with all requests; returns before the device has done what it asks of it.

        While a prompt is to be run, or a reply is not heard yet, only those replies are spoken whose listeners would
        soon hear nothing.

        Args:
          between: is called before the codec speaks, so that no text waits for it, nor a request that has come.
        """
        for talk in self.waiting.expired(self._clock()):
            talk.end("full", self._special)
        self._begin()
        stepped = self._step()
        self._read(leave=int(stepped))
        self._sound()
        self.sessions.settle()
        between()
        self._speak()
        self._show()

    def fail(self, error: str) -> None:
        """Ends all replies that are under way; requests that wait for a slot go on waiting."""
        for talk in {*self._in_slots(), *self._voices.keys()}:
            talk.end("failed", self._special, error)
        self._prompt, self._made = None, {}
        self._outputs.clear()
        self._show()

    def restart(self) -> None:
        """Makes fresh slots after `fail`; what was in them of sessions is run anew."""
        self.sessions.reset()
        self._voices.reset()
        self._device.reset()

    def close(self, error: str) -> None:
        """Ends all requests."""
        self.fail(error)
        for talk in self.waiting.clear():
            talk.end("failed", self._special, error)

    def _in_slots(self) -> list[Talk]:
        return [*self._made.values(), *([] if self._prompt is None else [self._prompt])]

    def _begin(self) -> None:
        """Runs a piece of a prompt: the next of the one that has begun, or the first of another."""
        if self._prompt is None:
            talk = self.waiting.next() if self.sessions.free else None
            if talk is None:
                return
            try:
                self._prompts.lay_out(talk)
            except InputError as error:
                return talk.end("failed", self._special, str(error))
            self._prompt, talk.stage, self._begun = talk, "prompt", self._begun + 1
        talk = self._prompt
        told = self._prompts.run(talk)
        if not talk.pieces:
            self._prompt, talk.stage, talk.steps = None, "made", 1
            self._made[talk.slot] = talk
            self._outputs.add(told, {talk.slot: talk}, begins=True)

    def _going(self) -> dict[int, Talk]:
        """The replies that the next step goes on with."""
        found = {}
        for slot, talk in self._made.items():
            talk.paused = talk.ahead_s > self._config.ahead_s * (0.5 if talk.paused else 1.0)
            if not talk.paused and talk.steps < talk.limit:
                found[slot] = talk
        return found

    def _step(self) -> bool:
        """Asks for a step of all slots that go on; returns whether there are any, or prompts go first.

        A step serves all slots at once: of those who ask together, the last are heard the sooner if a few prompts begin
        before the next step, and the first hardly later. The pieces of a long prompt do not go before steps.
        """
        going = self._going()
        waits = self._begins and self._begun < PROMPTS_FIRST and all(talk.can_wait for talk in going.values())
        if waits or not going:
            return False
        self._begun = 0
        mask = np.zeros(self._device.slots, bool)
        mask[list(going)] = True
        told = self._device.advance(mask, any(talk.draws for talk in going.values()))
        for talk in going.values():
            talk.steps += 1
        self._outputs.add(told, going, begins=False)
        return True

    def _read(self, leave: int) -> None:
        """Takes what the device has made, but for the last `leave` outputs."""
        for told in self._outputs.read(leave):
            if told.begins:
                self._tell_beginning(told.talk, told.at)
            self._note(told.talk, told.row)

    def _tell_beginning(self, talk: Talk, now: float) -> None:
        assert talk.prompt is not None
        took = now - talk.began_at
        self._metrics.prefill.observe(took)
        audio = int(np.count_nonzero(talk.prompt.kind != Kind.TEXT))
        talk.tell(Began(talk.began_at - talk.asked_at, took, len(talk.prompt), talk.reused, audio))

    def _note(self, talk: Talk, row: np.ndarray) -> None:
        """Takes what a step has made of a reply."""
        alive, count, text_id = (int(number) for number in row[:TOLD])
        if count > len(talk.made.text_ids):
            spoke = len(row) > TOLD and row[TOLD] > talk.made.groups
            group = row[TOLD + 1 :].copy() if spoke else None
            units = talk.step(text_id, group, not alive, self._model.config.units, self._model.tokenizer)
            self._metrics.tokens.labels("text").inc()
            self._metrics.tokens.labels("speech").inc(len(units))
            if units.size:
                self._voices.push(talk, units)
        if not alive:
            ended = text_id == self._special.eos or count < talk.limit
            talk.reason = "stop" if ended else "limit"
            self._leave(talk)
            talk.stage = "spoken"
            if not self._voices.end(talk):
                talk.end(talk.reason, self._special)

    def _leave(self, talk: Talk) -> None:
        """Gives the slot of a reply back, if it has one."""
        if talk.stage not in ("prompt", "made"):
            return
        record = None if talk.session is None else self._prompts.record(talk)
        if talk.stage == "prompt":
            self._prompt = None
        else:
            del self._made[talk.slot]
        self.sessions.rest(talk.slot, talk.session, record)

    def _speak(self) -> None:
        """Asks for the speech of what can be spoken, or what is urgent.

        The next turn takes it, when the device has made it beside the next step, unless somebody waits for a first
        sound.
        """
        unheard = any(talk.request.spoken and not talk.said_s for talk in self._made.values())
        self._voices.ask((lambda talk: talk.urgent) if self._starts or unheard else None)
        if not all(talk.said_s for talk in self._voices.asked):
            self._sound()

    def _sound(self) -> None:
        """Hands out the speech that was asked for, and ends the replies of which everything is said."""
        for one in self._voices.take():
            if one.wave.size:
                one.talk.said_s += one.wave.size / self._model.codec.rate
                one.talk.tell(Audio(one.wave))
            if one.last:
                one.talk.end(one.talk.reason, self._special)

    def _show(self) -> None:
        """Sets the gauges."""
        positions = sum(talk.filled + len(talk.made.text_ids) for talk in self._in_slots())
        self._metrics.kv_bytes_used.set(positions * self._device.position_bytes)
        self._metrics.kv_bytes_parked.set(self.sessions.host_bytes)
        self._metrics.sessions_kept.set(self.sessions.kept)
        self._metrics.slots_used.set(self.used)
        self._metrics.queue_depth.set(len(self.waiting))
